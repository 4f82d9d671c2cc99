"""Reads the side files that a record names: figures per layer, and sample answers."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from unlearn_lab.report.leaf import Record

_log = logging.getLogger(__name__)

Layers = dict[str, dict[str, object]]
Sample = dict[str, object]


def read_layers(home: Path, record: Record) -> Layers:
    """Figures by layer name; empty, with a warning for a broken file, when there are none."""
    body = _read(home, record, "layers")
    layers = body.get("layers") if isinstance(body, Mapping) else None
    if not isinstance(layers, Mapping):
        return {}
    return {name: dict(figures) for name, figures in layers.items() if isinstance(figures, Mapping)}


def read_samples(home: Path, record: Record) -> list[Sample]:
    """What was asked, answered and true; empty when there is nothing to read."""
    body = _read(home, record, "samples")
    return [sample for sample in body if isinstance(sample, dict)] if isinstance(body, list) else []


def _read(home: Path, record: Record, key: str) -> object:
    place = record.get(key)
    if not place:
        return None
    path = home / str(place)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _log.warning("record %s: %s cannot be read: %s", record.get("run_id"), path, error)
        return None
