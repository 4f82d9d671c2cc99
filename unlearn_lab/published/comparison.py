"""Compares every published number with the figure of our runs, and notes what differs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unlearn_lab.published.matching import Match, Ours, match, ours
from unlearn_lab.published.tables import Form, Row, Table
from unlearn_lab.record.leaf import Record, text


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure, ours and theirs.

    Attributes:
        metric: the table's column.
        ours: None where nothing was run.
        theirs: the published number; None where none was found.
        decimals: decimals of the published number.
    """

    metric: str
    ours: Ours | None
    theirs: float | None
    decimals: int

    @property
    def difference(self) -> float | None:
        """Ours minus theirs, in the unit of the metric."""
        if self.ours is None or self.theirs is None:
            return None
        return self.ours.value - self.theirs

    @property
    def inside(self) -> bool | None:
        """Whether theirs is within our interval, its ends rounded to the published decimals.

        None without either number or without an interval.
        """
        if self.ours is None or self.theirs is None:
            return None
        if self.ours.low is None or self.ours.high is None:
            return None
        low, high = round(self.ours.low, self.decimals), round(self.ours.high, self.decimals)
        return low <= self.theirs <= high


@dataclass(frozen=True, kw_only=True)
class Line:
    """A published row under one quantizer.

    Attributes:
        row: the row's name.
        quant: the quantizer, `none` for full precision.
        cells: one per metric.
    """

    row: str
    quant: str
    cells: tuple[Cell, ...]

    @property
    def num_seeds(self) -> int:
        """Largest number of seeds among the line's figures."""
        return max((cell.ours.num_seeds for cell in self.cells if cell.ours is not None), default=0)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table of published numbers with ours.

    Attributes:
        name: name of the comparison.
        title: the published table's title.
        sources: the published table's sources, as citations.
        remarks: the published table's remarks.
        runs: overrides that match each row.
        notes: what differs from the published runs, and what was left out.
        lines: one per row and quantizer.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    remarks: tuple[str, ...]
    runs: tuple[str, ...]
    notes: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def cells(self) -> list[Cell]:
        """All figures."""
        return [cell for line in self.lines for cell in line.cells]

    @property
    def closing(self) -> str:
        """Sentence with the number of published values in our intervals, of all comparable ones."""
        marks = [cell.inside for cell in self.cells if cell.inside is not None]
        published = sum(cell.theirs is not None for cell in self.cells)
        line = f"{sum(marks)} of {len(marks)} published values lie in our intervals"
        lacking = published - len(marks)
        return f"{line}; {lacking} more have no interval of ours." if lacking else f"{line}."


def compare(
    name: str, table: Table, form: str, records: Sequence[Record], *, any_model: bool
) -> Comparison:
    """Compares a table with the records; other data sets never count.

    Args:
        name: name of the comparison.
        table: the published table.
        form: which form of the rows to match.
        records: our records, oldest first.
        any_model: whether records of other models count.
    """
    kept, notes = eligible(records, table.dataset, table.model, any_model=any_model)
    lines, matches = [], []
    for row in table.rows:
        for quant, scores in row.scores.items():
            found = match(kept, table, row, row.forms.get(form), quant)
            lines.append(_line(table, row, quant, scores, found))
            matches.append((row.name, found))
    if kept:
        notes += [*_missing_quantizers(table, kept), *deviation_notes(matches)]
    return Comparison(
        name=name,
        title=table.title,
        sources=tuple(_sources(table)),
        remarks=table.remarks,
        runs=tuple(run_names(table.rows, form)),
        notes=tuple(notes),
        lines=tuple(lines),
    )


def eligible(
    records: Sequence[Record], dataset: str, model: str, *, any_model: bool
) -> tuple[list[Record], list[str]]:
    """Returns the records of the right data set and model, and notes on the others.

    Args:
        records: our records.
        dataset: the published data set.
        model: the published model.
        any_model: whether records of other models count.
    """
    right = [record for record in records if record.get("dataset") == dataset]
    notes = []
    if not right:
        there = _counted(records, "dataset") or "no records at all"
        notes.append(f"No record of dataset={dataset}: there are {there}.")
    others = [record for record in right if record.get("model") != model]
    if others and any_model:
        notes.append(
            f"Not the published model: of the {len(right)} records with dataset={dataset}, "
            f"{len(others)} are of another than model={model}: {_counted(others, 'model')}."
        )
    elif others:
        notes.append(
            f"Left out: records of another than model={model}: {_counted(others, 'model')}; "
            "--any-model shows them."
        )
        right = [record for record in right if record.get("model") == model]
    return right, notes


def deviation_notes(matches: Sequence[tuple[str, Match | None]]) -> Iterator[str]:
    """Yields notes on settings that differ from the published ones, and on those left out."""
    rows: dict[str, dict[str, None]] = {}
    for name, found in matches:
        for deviation in found.deviations if found else ():
            setting = f"{deviation.key}={deviation.ours} (published: {deviation.theirs})"
            rows.setdefault(setting, {})[name] = None
    for setting, named in rows.items():
        yield f"Another setting: {setting} in {', '.join(named)}."
    several = dict.fromkeys(name for name, found in matches if found and found.num_others)
    if several:
        yield (
            f"Several settings of {', '.join(several)}: the one nearest to the published is shown, "
            "of equally near ones the latest; --sweep chooses another."
        )


def run_names(rows: Sequence[Row], form: str) -> Iterator[str]:
    """Yields the overrides to run for each published row."""
    for row in rows:
        if row.who == "unlearned":
            spelt = _spelt(row.forms[form]) if form in row.forms else "no counterpart here"
            yield f"{row.name}: {spelt}"


def _spelt(form: Form) -> str:
    parts = [f"method={form.method}"]
    parts += [f"optimizer={form.optimizer}"] if form.optimizer != "adamw" else []
    parts += [f"{key.removeprefix('config.')}={value}" for key, value in form.requires.items()]
    return " ".join(parts)


def _line(
    table: Table, row: Row, quant: str, scores: Sequence[float | None], found: Match | None
) -> Line:
    cells = tuple(
        Cell(
            metric=metric,
            ours=ours(found, row.who, quant, metric) if found else None,
            theirs=theirs,
            decimals=table.decimals,
        )
        for metric, theirs in zip(table.metrics, scores, strict=True)
    )
    return Line(row=row.name, quant=quant, cells=cells)


def _sources(table: Table) -> Iterator[str]:
    """Yields each source, with the names of its rows where there are several sources."""
    for name, source in table.sources.items():
        named = [row.name for row in table.rows if row.source == name]
        yield f"{', '.join(named)}: {source}" if len(table.sources) > 1 else str(source)


def _missing_quantizers(table: Table, kept: Sequence[Record]) -> Iterator[str]:
    """Notes quantizers that no record has; another one with as many bits is no substitute."""
    wanted = dict.fromkeys(quant for row in table.rows for quant in row.scores if quant != "none")
    there = {text(record, "quant") for record in kept}
    missing = [quant for quant in wanted if quant not in there]
    if missing:
        others = sorted(there - set(wanted) - {"none"})
        unknown = f"; {', '.join(others)} cannot be compared" if others else ""
        yield f"No record with quant={','.join(missing)}{unknown}."


def _counted(records: Sequence[Record], key: str) -> str:
    counts = Counter(text(record, key) for record in records)
    return ", ".join(f"{count} of {key}={value}" for value, count in counts.items())
