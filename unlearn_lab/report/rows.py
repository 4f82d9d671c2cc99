"""Lays out the records of a sweep as rows: controls first, then one row per leaf."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unlearn_lab.record.leaf import (
    Record,
    is_quantized,
    number,
    recovery,
    score,
    shown_metrics,
    text,
)
from unlearn_lab.record.verdict import Verdict, VerdictThresholds, verdict
from unlearn_lab.report.swept import heading, swept_keys

Who = Literal["target", "retrain", "unlearned"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the results table.

    Attributes:
        who: which model's scores the row shows.
        labels: cells of the key columns.
        record: the record with the scores.
        verdict: None for a control.
    """

    who: Who
    labels: tuple[str, ...]
    record: Record
    verdict: Verdict | None

    @property
    def quantized(self) -> bool:
        """Whether the row has scores in two precisions."""
        return is_quantized(self.record)

    def scores(self, metric: str) -> tuple[float | None, float | None]:
        """Returns the metric in full precision and quantized."""
        return score(self.record, self.who, "full", metric), score(
            self.record, self.who, "quantized", metric
        )

    def delta(self, metric: str) -> float | None:
        """Returns the points that quantization adds; a control's are computed from its scores."""
        if self.who == "unlearned":
            return recovery(self.record, metric, "delta")
        full, quantized = self.scores(metric)
        return None if full is None or quantized is None else quantized - full

    def share(self, metric: str) -> float | None:
        """Returns the recovered share; None for a control."""
        return recovery(self.record, metric, "recovered_share") if self.who == "unlearned" else None


def key_headings(records: Sequence[Record]) -> tuple[str, ...]:
    """Returns the headings of the key columns."""
    keys = swept_keys(records)
    return ("method", "optimizer", "quant", *(heading(key, keys) for key in keys))


def build_rows(records: Sequence[Record], thresholds: VerdictThresholds) -> list[Row]:
    """Returns controls, then leaves, each sorted by labels in natural order."""
    keys = swept_keys(records)
    leaves = [
        Row(
            who="unlearned",
            labels=tuple(text(record, key) for key in ("method", "optimizer", "quant", *keys)),
            record=record,
            verdict=verdict(record, thresholds),
        )
        for record in records
    ]
    controls = [*_controls(records, "target", keys), *_controls(records, "retrain", keys)]
    return [*controls, *sorted(leaves, key=_order)]


def _controls(records: Sequence[Record], who: Who, keys: Sequence[str]) -> list[Row]:
    """Returns a row per distinct set of scores; settings that vary among its records stay blank."""
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        full, quantized = _signature(record, who, "full"), _signature(record, who, "quantized")
        if any(value is not None for value in (*full, *quantized)):
            groups[(record.get("quant"), full, quantized)].append(record)
    quantized_too = {full for quant, full, _ in groups if quant != "none"}
    rows = [
        Row(who=who, labels=_control_labels(members, who, keys), record=members[0], verdict=None)
        for (quant, full, _), members in groups.items()
        if quant != "none" or full not in quantized_too
    ]
    return sorted(rows, key=_order)


def _signature(record: Record, who: Who, precision: str) -> tuple[float | None, ...]:
    return tuple(
        number(record, f"scores.{who}.{precision}.{metric}") for metric in shown_metrics([record])
    )


def _control_labels(members: Sequence[Record], who: Who, keys: Sequence[str]) -> tuple[str, ...]:
    shown = [{text(record, key) for record in members} for key in keys]
    constant = [values.pop() if len(values) == 1 else "" for values in shown]
    return (who, "", text(members[0], "quant"), *constant)


def _order(row: Row) -> list[tuple[int, float, str]]:
    return [part for label in row.labels for part in natural(label)]


def natural(label: str) -> list[tuple[int, float, str]]:
    """Returns a natural sort key: "none" first, 1e-05 before 1e-04, rtn4 before rtn16."""
    if label in ("none", ""):
        return [(0, 0.0, "")]
    try:
        return [(1, float(label), "")]
    except ValueError:
        pieces = re.split(r"(\d+)", label)
    return [
        (1, float(piece), "") if piece.isdigit() else (2, 0.0, piece) for piece in pieces if piece
    ]
