"""Stores the scores of a training epoch by epoch: its curve."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

FILE = "curve.json"


@dataclass(frozen=True, kw_only=True)
class Point:
    """Scores of the model after an epoch, by metric, in the metric's own units (most: 0-100).

    Attributes:
        epoch: epochs done; 0 is the target.
        full: scores in full precision.
        quantized: scores under the quantizer; empty without one.
    """

    epoch: int
    full: Mapping[str, float]
    quantized: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The scores of a training, in the order of its epochs.

    Attributes:
        settings: what was measured, how, and how often, as plain values.
        points: the scores.
    """

    settings: Mapping[str, Any]
    points: tuple[Point, ...]

    @property
    def quantizer(self) -> str:
        """Name of the quantizer's option."""
        return str(self.settings.get("quantizer"))


def read_curve(folder: Path) -> Curve | None:
    """Reads the curve of a training; None if it has none, or not one that can be read."""
    try:
        return as_curve(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def as_curve(found: object) -> Curve | None:
    """Returns the curve of a file's content; None if it is not one."""
    try:
        values = cast("Mapping[str, Any]", found)
        points = tuple(Point(**point) for point in values["points"])
        return Curve(settings=dict(values["settings"]), points=points)
    except (KeyError, TypeError, ValueError):
        return None


def write_curve(folder: Path, curve: Curve) -> None:
    """Writes the curve of a training, atomically."""
    draft = folder / f"{FILE}.new"
    draft.write_text(json.dumps(dataclasses.asdict(curve)), encoding="utf-8")
    os.replace(draft, folder / FILE)
