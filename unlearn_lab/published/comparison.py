"""Ours beside theirs: every published number with the figure of our runs, and what to know."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unlearn_lab.published.matching import Match, Ours, match, ours
from unlearn_lab.published.tables import Form, Row, Table
from unlearn_lab.record.leaf import Record, text


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure twice; `ours` is None where nothing was run, `theirs` where nothing was found."""

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
        """Whether theirs lies in our interval, its ends rounded as finely as theirs was published.

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
    """A published row under one quantizer (`none` is full precision)."""

    row: str
    quant: str
    cells: tuple[Cell, ...]

    @property
    def num_seeds(self) -> int:
        """The most seeds that any of the line's figures is the mean of."""
        return max((cell.ours.num_seeds for cell in self.cells if cell.ours is not None), default=0)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table of published numbers beside ours: `runs` says which runs count, `notes` what differs.

    `sources` and `remarks` are the published table's.
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
        """How many published numbers lie in our intervals, of how many that could be compared."""
        marks = [cell.inside for cell in self.cells if cell.inside is not None]
        published = sum(cell.theirs is not None for cell in self.cells)
        line = f"{sum(marks)} of {len(marks)} published values lie in our intervals"
        lacking = published - len(marks)
        return f"{line}; {lacking} more have no interval of ours." if lacking else f"{line}."


def compare(
    name: str, table: Table, form: str, records: Sequence[Record], *, any_model: bool
) -> Comparison:
    """The table beside the records, of which other data sets never count."""
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
    """The records of the right data set and model, and what is to be said about the others."""
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
    """Settings in which our runs differ from the published ones, and what was left out."""
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
    """What to run for each published row, as the command line takes it."""
    for row in rows:
        if row.who == "unlearned":
            spelt = _spelt(row.forms[form]) if form in row.forms else "nothing of ours"
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
    """Each source with its rows; the rows are named where there are several sources."""
    for name, source in table.sources.items():
        named = [row.name for row in table.rows if row.source == name]
        yield f"{', '.join(named)}: {source}" if len(table.sources) > 1 else str(source)


def _missing_quantizers(table: Table, kept: Sequence[Record]) -> Iterator[str]:
    """Quantizers that no record has; another one of as many bits does not stand in for them."""
    wanted = dict.fromkeys(quant for row in table.rows for quant in row.scores if quant != "none")
    there = {text(record, "quant") for record in kept}
    missing = [quant for quant in wanted if quant not in there]
    if missing:
        others = sorted(there - set(wanted) - {"none"})
        unknown = f"; {', '.join(others)} would be something else" if others else ""
        yield f"No record with quant={','.join(missing)}{unknown}."


def _counted(records: Sequence[Record], key: str) -> str:
    counts = Counter(text(record, key) for record in records)
    return ", ".join(f"{count} of {key}={value}" for value, count in counts.items())
