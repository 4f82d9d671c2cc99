"""Converts a record into the content of a W&B run: config, summary, tags and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unlearn_lab.record.leaf import (
    CHOICES,
    Record,
    memories,
    nested,
    number,
    text,
    utility,
)
from unlearn_lab.record.side_files import SideFiles

Table = tuple[list[str | int], list[Any]]
Better = Literal["min", "max"]

_SECRETS = frozenset({"api_key", "token", "hf_token", "password", "secret"})
_SUMMARISED = ("scores", "recovery", "quantizer", "codes", "mask", "items", "seconds")
_LAYER_FIGURES = ("flip_rate", "moved", "zero_bin", "relative_step", "update_kept")
_ASKED, _PRECISIONS = ("metric", "who", "asked", "true"), ("full", "quantized")
_LONGEST_TAG = 64


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of one W&B run; tables are (columns, rows).

    Attributes:
        config: settings, nested.
        summary: figures, reasons and links, nested.
        tags: verdict, model and data set.
        better: whether each score of the unlearned model is better when low or high.
        layers: figures by layer under the leaf's quantizer.
        flips: code-flip rate by layer and bit width.
        mask: share of each parameter's units that may be updated.
        samples: sample answers.
    """

    config: dict[str, Any]
    summary: dict[str, Any]
    tags: tuple[str, ...]
    better: dict[str, Better]
    layers: Table
    flips: Table
    mask: Table
    samples: Table


def content_of(
    record: Record, sides: SideFiles, trainings: Mapping[str, Mapping[str, str]]
) -> Content:
    """Converts a record into the content of its run.

    Args:
        record: the leaf's record.
        sides: its side files.
        trainings: id and address of the runs of its trainings, by role.
    """
    links = {"trainings": {role: dict(run) for role, run in trainings.items()}}
    return Content(
        config=config_of(record),
        summary=summary_of(record) | (links if trainings else {}),
        tags=tags_of(record),
        better=better_of(record),
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


def tags_of(record: Record) -> tuple[str, ...]:
    """Returns verdict, model and data set, each of at most 64 characters, as W&B requires."""
    found = (record.get("verdict"), record.get("model"), record.get("dataset"))
    return tuple(dict.fromkeys(str(tag)[:_LONGEST_TAG] for tag in found if tag))


def better_of(record: Record) -> dict[str, Better]:
    """Returns the directions of memories, which are to fall, and of utility."""
    wanted: dict[str, Better] = dict.fromkeys(memories(record), "min")
    if (metric := utility(record)) is not None:
        wanted[metric] = "max"
    return {
        key: better
        for precision in ("full", "quantized")
        for metric, better in wanted.items()
        if number(record, key := f"scores.unlearned.{precision}.{metric}") is not None
    }


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
    """Returns columns and rows of the sample answers, full and quantized answers in one row."""
    found: dict[tuple[str, ...], dict[str, list[Any]]] = {}
    for sample in samples:
        asked = tuple(text(sample, key) for key in _ASKED)
        shown = [text(sample, "answer"), number(sample, "score")]
        found.setdefault(asked, {})[text(sample, "precision")] = shown
    rows = [
        [*asked, *(cell for kind in _PRECISIONS for cell in answers.get(kind, [None, None]))]
        for asked, answers in found.items()
    ]
    columns = [f"{what} ({kind})" for kind in _PRECISIONS for what in ("answer", "score")]
    return [*_ASKED, *columns], rows
