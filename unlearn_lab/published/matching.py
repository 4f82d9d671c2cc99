"""Matches records to a published row: same method, one setting, one record per seed."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_lab.published.tables import Form, Row, Table
from unlearn_lab.record.leaf import Record, interval, number, score

_NEVER = (
    "config.runtime.",
    "config.report.",
    "config.recipe.",
    "config.eval.bits",
    "config.seed",
    "config.export",
)
_OF_CONTROLS = (
    "config.model.",
    "config.dataset.",
    "config.finetune.",
    "config.trainer.weights",
    "config.eval.",
)
_OF_QUANTIZERS = ("config.quant.", "config.generic_text.")
"""Settings that affect no figure, those that affect controls, those of quantized models only."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """A setting in which a record differs from the published run.

    Attributes:
        key: the record's key.
        ours: the record's value.
        theirs: the published value.
    """

    key: str
    ours: Any
    theirs: Any


@dataclass(frozen=True, kw_only=True)
class Match:
    """The records of one row under one quantizer.

    Attributes:
        records: one per seed, all in the same setting.
        deviations: settings that differ from the published ones.
        num_others: number of further settings of the same row, which are left out.
    """

    records: tuple[Record, ...]
    deviations: tuple[Deviation, ...]
    num_others: int


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A figure of our records.

    Attributes:
        value: the mean over seeds.
        low: lower end of the interval; None where a record has none.
        high: upper end of the interval; None where a record has none.
        num_seeds: number of seeds.
    """

    value: float
    low: float | None
    high: float | None
    num_seeds: int


def match(
    records: Sequence[Record], table: Table, row: Row, form: Form | None, quant: str
) -> Match | None:
    """Returns the records that match one published row; None when there are none.

    Full precision (`none`) is read from any record, a quantizer only from its own. Among several
    settings, the one with the fewest deviations is chosen, among equal ones the latest; among
    several records of a seed, the latest. Seeds of different settings are never mixed.

    Args:
        records: records of the table's data set, oldest first.
        table: the published table.
        row: the row to match.
        form: the row in our terms; None where it has no counterpart.
        quant: the quantizer, `none` for full precision.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        if quant in ("none", record.get("quant")) and _stands_for(record, row, form):
            groups[_setting(record, row, quant)].append(place)
    if not groups:
        return None
    expected = _expected(table, row, form, quant)
    found = {places[-1]: _deviations(records[places[-1]], expected) for places in groups.values()}
    latest = min(found, key=lambda place: (len(found[place]), -place))
    chosen = next(places for places in groups.values() if places[-1] == latest)
    by_seed = {records[place].get("seed"): records[place] for place in chosen}
    return Match(
        records=tuple(by_seed.values()),
        deviations=tuple(found[latest]),
        num_others=len(groups) - 1,
    )


def ours(found: Match, who: str, quant: str, metric: str) -> Ours | None:
    """Returns one figure of the matched records; None where no record has it.

    Args:
        found: the matched records.
        who: `target`, `retrain` or `unlearned`.
        quant: the quantizer, `none` for full precision.
        metric: a column of the published table; shares are in per cent.
    """
    precision = "full" if quant == "none" else "quantized"
    if metric == "recovered_share":
        return share(found.records, "recovery.verbmem.recovered_share")
    return over_seeds(
        [
            (score(record, who, precision, metric), interval(record, who, precision, metric))
            for record in found.records
        ]
    )


def share(records: Sequence[Record], key: str) -> Ours | None:
    """Returns the share under a record key over all records, in per cent."""
    figures = []
    for record in records:
        value, low, high = (number(record, f"{key}{end}") for end in ("", ".low", ".high"))
        ends = None if low is None or high is None else (100 * low, 100 * high)
        figures.append((None if value is None else 100 * value, ends))
    return over_seeds(figures)


def over_seeds(
    figures: Sequence[tuple[float | None, tuple[float, float] | None]],
) -> Ours | None:
    """Returns the mean of one figure over seeds, with an interval.

    One seed: its own interval. Several: from the mean of the lows to the mean of the highs, widened
    to the lowest and the highest seed. All seeds are scored on the same items, so averaging does
    not reduce the uncertainty from the choice of items, and the mean of the ends is an upper bound
    for it. The range of a few seeds is not a 95 % interval over trainings.
    """
    known = [(value, ends) for value, ends in figures if value is not None]
    if not known:
        return None
    values = [value for value, _ in known]
    mean = math.fsum(values) / len(values)
    intervals = [ends for _, ends in known if ends is not None]
    if len(intervals) < len(known):
        return Ours(value=mean, low=None, high=None, num_seeds=len(known))
    low = math.fsum(low for low, _ in intervals) / len(intervals)
    high = math.fsum(high for _, high in intervals) / len(intervals)
    if len(known) > 1:
        low, high = min(low, *values), max(high, *values)
    return Ours(value=mean, low=low, high=high, num_seeds=len(known))


def _stands_for(record: Record, row: Row, form: Form | None) -> bool:
    if row.who != "unlearned":
        return True
    if form is None:
        return False
    return (
        record.get("method") == form.method
        and record.get("optimizer") == form.optimizer
        and all(same(record.get(key), value) for key, value in form.requires.items())
    )


def _setting(record: Record, row: Row, quant: str) -> str:
    """Returns the settings that records must share to count as seeds of one experiment."""
    reaching = ("config.",) if row.who == "unlearned" else _OF_CONTROLS
    if quant != "none":
        reaching = (*reaching, *_OF_QUANTIZERS)
    hidden = _NEVER if quant != "none" else (*_NEVER, *_OF_QUANTIZERS)
    kept: Mapping[str, object] = {
        key: value
        for key, value in record.items()
        if key.startswith(reaching) and not key.startswith(hidden)
    }
    return json.dumps([record.get("model"), kept], sort_keys=True, default=str)


def _expected(table: Table, row: Row, form: Form | None, quant: str) -> dict[str, Any]:
    """Returns the published settings that affect this row's figures."""
    known = {**table.expects, **row.expects, **(form.expects if form else {})}
    hidden = _OF_QUANTIZERS if quant == "none" else ()
    reaching = (*_OF_CONTROLS, *_OF_QUANTIZERS) if row.who != "unlearned" else ("",)
    return {
        key: value
        for key, value in known.items()
        if key.startswith(reaching) and not key.startswith(hidden)
    }


def _deviations(record: Record, expected: Mapping[str, Any]) -> list[Deviation]:
    """Returns settings other than expected; a node with a `_target_` is compared by its class."""
    found = {key: key if key in record else f"{key}._target_" for key in expected}
    return [
        Deviation(key=key, ours=record[place], theirs=expected[key])
        for key, place in found.items()
        if place in record and not same(record[place], expected[key])
    ]


def same(found: object, wanted: object) -> bool:
    """Whether two settings are equal, numbers up to float noise."""
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return math.isclose(found, wanted)
    return found == wanted
