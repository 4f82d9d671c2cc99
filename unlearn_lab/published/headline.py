"""Computes the paper's headline from our records: the mean share that unlearned models retain."""

import math
from collections.abc import Iterator, Mapping, Sequence

from unlearn_lab.published.comparison import (
    Cell,
    Comparison,
    Line,
    deviation_notes,
    eligible,
    run_names,
)
from unlearn_lab.published.matching import Match, Ours, match, share
from unlearn_lab.published.tables import Headline, Row, Table
from unlearn_lab.record.leaf import Record, is_quantized

METRIC = "retained_share"
_INTERVAL = (
    "Ours is the mean of the shares, from the mean of their lows to that of their highs: an upper "
    "bound of the mean's interval, however the shares depend on one another."
)


def compare_headline(
    name: str,
    headline: Headline,
    tables: Mapping[str, Table],
    form: str,
    records: Sequence[Record],
    *,
    any_model: bool,
) -> Comparison:
    """Compares the published mean with ours, which needs every run that it averages.

    Args:
        name: name of the comparison.
        headline: the published means.
        tables: the tables with the averaged rows, by name.
        form: which form of the rows to match.
        records: our records, oldest first.
        any_model: whether records of other models count.
    """
    kept, notes = [], []
    for table in tables.values():
        right, remarks = eligible(records, table.dataset, table.model, any_model=any_model)
        kept += right
        notes += remarks
    lines, matches = [], []
    for quant, theirs in headline.shares.items():
        found = list(_matches(headline, tables, form, kept, quant))
        matches += found
        shares = [_share(each, metric, quant) for _, each in found for metric in headline.metrics]
        known = [each for each in shares if each is not None]
        if len(known) < len(shares):
            notes.append(f"quant={quant}: {len(known)} of the {len(shares)} shares were measured.")
        mean = _mean(known) if len(known) == len(shares) else None
        cell = Cell(metric=METRIC, ours=mean, theirs=theirs, decimals=headline.decimals)
        lines.append(Line(row="mean", quant=quant, cells=(cell,)))
    first = next(iter(tables.values()))
    return Comparison(
        name=name,
        title=headline.title,
        sources=(str(headline.source),),
        remarks=(*headline.remarks, _of_tables(headline, tables), _INTERVAL),
        runs=tuple(run_names([row for row in first.rows if row.name in headline.rows], form)),
        notes=(*notes, *deviation_notes(matches)),
        lines=tuple(lines),
    )


def published_mean(tables: Mapping[str, Table], headline: Headline, quant: str) -> float:
    """Returns the mean share, in per cent, computed from the published tables themselves.

    Args:
        tables: the tables with the averaged rows, by name.
        headline: which rows and metrics to average.
        quant: the quantizer, `none` for full precision.
    """
    shares = []
    for table in tables.values():
        target = next(row for row in table.rows if row.who == "target").scores[quant]
        shares += [
            100 * score / whole
            for row in _rows(table, headline)
            for metric, score, whole in zip(table.metrics, row.scores[quant], target, strict=True)
            if metric in headline.metrics and score is not None and whole is not None
        ]
    return math.fsum(shares) / len(shares)


def _of_tables(headline: Headline, tables: Mapping[str, Table]) -> str:
    means = [f"{published_mean(tables, headline, quant):z.0f} %" for quant in headline.shares]
    named = ", ".join(headline.rows)
    return f"Of {', '.join(tables)}: the mean over {named} is {' and '.join(means)}."


def _matches(
    headline: Headline,
    tables: Mapping[str, Table],
    form: str,
    records: Sequence[Record],
    quant: str,
) -> Iterator[tuple[str, Match | None]]:
    """Yields each row's name and match; only records with a quantizer contain shares."""
    for table in tables.values():
        usable = [
            record
            for record in records
            if record.get("dataset") == table.dataset and is_quantized(record)
        ]
        for row in _rows(table, headline):
            name = f"{row.name} ({table.dataset})"
            yield name, match(usable, table, row, row.forms.get(form), quant)


def _rows(table: Table, headline: Headline) -> list[Row]:
    return [row for row in table.rows if row.name in headline.rows]


def _share(found: Match | None, metric: str, quant: str) -> Ours | None:
    """Returns the share of the target's score that the model retains in the same precision."""
    precision = "full" if quant == "none" else "quantized"
    return share(found.records, f"recovery.{metric}.retained_{precision}") if found else None


def _mean(shares: Sequence[Ours]) -> Ours:
    """Averages shares; the mean of the ends bounds the interval from above for any correlation.

    The number of seeds is the smallest of any share.
    """
    lows = [each.low for each in shares if each.low is not None]
    highs = [each.high for each in shares if each.high is not None]
    whole = len(lows) == len(highs) == len(shares)
    return Ours(
        value=math.fsum(each.value for each in shares) / len(shares),
        low=math.fsum(lows) / len(shares) if whole else None,
        high=math.fsum(highs) / len(shares) if whole else None,
        num_seeds=min(each.num_seeds for each in shares),
    )
