"""Converts a record into the content of a W&B run: config, summary, curves and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_lab.record.leaf import CHOICES, Record, nested, number, text
from unlearn_lab.record.side_files import SideFiles

Table = tuple[list[str | int], list[Any]]

_SECRETS = frozenset({"api_key", "token", "hf_token", "password", "secret"})
_SUMMARISED = ("scores", "recovery", "quantizer", "codes", "mask", "items", "seconds")
_LAYER_FIGURES = ("flip_rate", "moved", "zero_bin", "relative_step", "update_kept")
_SAMPLE_TEXTS = ("metric", "who", "precision", "asked", "answer", "true")


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of one W&B run; tables are (columns, rows).

    Attributes:
        config: settings, nested.
        summary: figures and reasons, nested.
        points: training curves as (step, figures).
        layers: figures by layer under the leaf's quantizer.
        flips: code-flip rate by layer and bit width.
        mask: share of each parameter's units that may be updated.
        samples: sample answers.
    """

    config: dict[str, Any]
    summary: dict[str, Any]
    points: list[tuple[int, dict[str, float]]]
    layers: Table
    flips: Table
    mask: Table
    samples: Table


def content_of(
    record: Record,
    sides: SideFiles,
    curves: Sequence[Mapping[str, object]],
) -> Content:
    """Converts a record into the content of its run.

    Args:
        record: the leaf's record.
        sides: its side files.
        curves: one mapping per training step.
    """
    return Content(
        config=config_of(record),
        summary=summary_of(record),
        points=curve_points(curves),
        layers=layer_table(sides.layers),
        flips=flip_table(sides.widths),
        mask=(["parameter", "kept"], [[name, share] for name, share in sides.mask.items()]),
        samples=sample_table(sides.samples),
    )


def config_of(record: Record) -> dict[str, Any]:
    """Returns every resolved setting, nested, with the choices, what really ran and the run id.

    Settings named like a secret (`api_key`, `token`, ...) are left out.
    """
    safe = {key: value for key, value in record.items() if key.split(".")[-1] not in _SECRETS}
    provenance = {key: record.get(key) for key in ("run_id", "sweep", "version", "git")}
    return {
        **nested(safe, "config"),
        "choices": {key: record.get(key) for key in (*CHOICES, "seed")},
        "effective": nested(record, "effective"),
        "quantizer": nested(record, "quantizer"),
        "stages": nested(record, "stages"),
        "record": provenance,
    }


def summary_of(record: Record) -> dict[str, Any]:
    """Returns scores, recovery, codes and costs, nested so that W&B paths are the record's keys.

    The ends of an interval are siblings of their value (`verbmem_low`); null figures are left out.
    As text: the verdict and its reason, `skipped` (why a metric was not measured) and `corpus`
    (remarks on the corpus).
    """
    known = {
        key.replace(".low", "_low").replace(".high", "_high"): record[key]
        for key in record
        if number(record, key) is not None
    }
    groups = {group: nested(known, group) for group in _SUMMARISED}
    single = {key: record[key] for key in ("stopped_epoch", "peak_gb") if key in known}
    notes = {group: nested(record, group) for group in ("skipped", "corpus")}
    notes = {group: words for group, words in notes.items() if words}
    notes |= {key: record[key] for key in ("verdict", "verdict_reason") if key in record}
    return {group: tree for group, tree in groups.items() if tree} | single | notes


def curve_points(
    curves: Sequence[Mapping[str, object]],
) -> list[tuple[int, dict[str, float]]]:
    """Returns training curves as (step, figures), sorted; a missing step is the position."""
    points: list[tuple[int, dict[str, float]]] = []
    for place, point in enumerate(curves):
        step = number(point, "step")
        figures = {
            f"train/{key}": value
            for key in point
            if key != "step" and (value := number(point, key)) is not None
        }
        points.append((place if step is None else int(step), figures))
    return sorted(points, key=lambda point: point[0])


def layer_table(layers: Mapping[str, Mapping[str, object]]) -> Table:
    """Returns columns and rows of the per-layer figures."""
    rows = [
        [layer, *(number(figures, figure) for figure in _LAYER_FIGURES)]
        for layer, figures in layers.items()
    ]
    return ["layer", *_LAYER_FIGURES], rows


def flip_table(widths: Mapping[str, Mapping[str, Mapping[str, object]]]) -> Table:
    """Returns columns and rows of code-flip rates: one row per layer, one column per bit width."""
    bits = sorted(widths, key=int)
    layers = list(dict.fromkeys(layer for found in widths.values() for layer in found))
    rows = [
        [layer, *(number(widths[width].get(layer, {}), "flip_rate") for width in bits)]
        for layer in layers
    ]
    return ["layer", *(f"{width} bits" for width in bits)], rows


def sample_table(samples: Sequence[Mapping[str, object]]) -> Table:
    """Returns columns and rows of the sample answers."""
    rows = [
        [*(text(sample, key) for key in _SAMPLE_TEXTS), number(sample, "score")]
        for sample in samples
    ]
    return [*_SAMPLE_TEXTS, "score"], rows
