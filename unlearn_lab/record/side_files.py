"""Reads the side files that a record names: per-layer figures and sample answers."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.record.leaf import Record, number
from unlearn_lab.unlearn.training.curve import Curve, as_curve

_log = logging.getLogger(__name__)

Layers = dict[str, dict[str, object]]
Sample = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class SideFiles:
    """Contents of a record's side files; a missing part is empty.

    Attributes:
        layers: figures by layer under the leaf's quantizer.
        widths: figures by bit width and layer.
        mask: share of each parameter's units that may be updated.
        samples: prompts with the model's answer and the ground truth.
        curve: scores while the model unlearned; None if it was not scored.
    """

    layers: Layers
    widths: dict[str, Layers]
    mask: dict[str, float]
    samples: list[Sample]
    curve: Curve | None


def read_sides(home: Path, record: Record) -> SideFiles:
    """Reads a record's side files; one that cannot be read is left out with a warning."""
    found = _read(home, record, "layers")
    body = found if isinstance(found, Mapping) else {}
    samples = _read(home, record, "samples")
    return SideFiles(
        layers=_by_layer(body.get("layers")),
        widths={bits: _by_layer(layers) for bits, layers in _mapping(body.get("widths")).items()},
        mask=_shares(_mapping(body.get("mask"))),
        samples=[sample for sample in samples if isinstance(sample, dict)]
        if isinstance(samples, list)
        else [],
        curve=as_curve(_read(home, record, "curve")),
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _by_layer(value: object) -> Layers:
    layers = _mapping(value)
    return {name: dict(figures) for name, figures in layers.items() if isinstance(figures, Mapping)}


def _shares(mask: Mapping[str, object]) -> dict[str, float]:
    shares = {name: number(mask, name) for name in mask}
    return {name: share for name, share in shares.items() if share is not None}


def _read(home: Path, record: Record, key: str) -> object:
    place = record.get(key)
    if not place:
        return None
    inside = Path(str(place))
    if inside.is_absolute() or ".." in inside.parts:
        _log.warning("record %s: %s is not below %s", record.get("run_id"), place, home)
        return None
    path = home / inside
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _log.warning("record %s: %s cannot be read: %s", record.get("run_id"), path, error)
        return None
