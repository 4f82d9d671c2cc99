"""Prints a comparison with published numbers, without truncating one at any terminal width."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_lab.published.comparison import Cell, Comparison, Line
from unlearn_lab.published.matching import Ours
from unlearn_lab.record.leaf import TITLES
from unlearn_lab.report.terminal.blocks import Block, empty_table, pack

_TITLES = {
    **TITLES,
    "gen": "MMLU (Gen)",
    "tru": "TruthfulQA (Tru)",
    "fac": "TriviaQA (Fac)",
    "flu": "Fluency (Flu)",
    "forget_truth_ratio": "Truth ratio",
    "recovered_share": "VerbMem back %",
    "retained_share": "Retained %",
}
_MARKS = {True: "yes", False: "no", None: ""}
_STYLES = {"yes": "green", "no": "red"}
_LEGEND = (
    "ours: value [95 % bootstrap interval over evaluation items]. Several seeds: their mean, from "
    "the mean of the lows to the mean of the highs, widened to the lowest and highest seed. "
    "theirs: as published. diff: ours minus theirs. in: whether theirs lies in our interval, the "
    "ends rounded as theirs is; a published number has no interval of its own, so yes means "
    "compatible, not equal. Empty: not run here, or never found published. full: full precision."
)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Prints the table, its sources, what differs, and the closing count.

    Columns that do not fit move to a further table; on a terminal too narrow for one metric, lines
    exceed the width and the terminal wraps them.
    """
    seeds = {line.num_seeds for line in comparison.lines} - {0}
    title = f"{comparison.name}: {comparison.title}"
    console.print(Text(f"{title}{_of_seeds(seeds)}", style="bold"))
    keys = _keys(comparison.lines, several=len(seeds) > 1)
    metrics = [_metric_block(comparison.lines, place) for place in range(_num(comparison.lines))]
    for group in pack(metrics, console.width - keys.width, 0):
        table = _table(comparison.lines, [keys, *group])
        needed = sum(block.width for block in [keys, *group])
        table.width = needed if needed > console.width else None
        console.print(table, crop=False)
        console.print()
    for note in comparison.notes:
        console.print(Text(note, style="yellow"))
    for heading, lines in (
        ("theirs", comparison.sources),
        ("runs", comparison.runs),
        ("note", comparison.remarks),
    ):
        for line in lines:
            console.print(Text(f"{heading}: {line}", style="dim"))
    console.print(Text(_LEGEND, style="dim"))
    console.print(Text(comparison.closing, style="bold"))


def format_ours(ours: Ours | None, decimals: int) -> str:
    """Formats a figure of ours with its interval; empty when nothing was run."""
    if ours is None:
        return ""
    value = f"{ours.value:z.{decimals}f}"
    if ours.low is None or ours.high is None:
        return value
    return f"{value} [{ours.low:z.{decimals}f}, {ours.high:z.{decimals}f}]"


def format_theirs(theirs: float | None, decimals: int) -> str:
    """Formats a published number with all its digits; empty when none was found."""
    if theirs is None:
        return ""
    shown = f"{theirs:z.{decimals}f}"
    return shown if float(shown) == theirs else f"{theirs:g}"


def _of_seeds(seeds: set[int]) -> str:
    """Returns the title's note on seeds if all lines have equally many; otherwise a column does."""
    return f" (ours: means of {max(seeds)} seeds)" if len(seeds) == 1 and max(seeds) > 1 else ""


def _keys(lines: Sequence[Line], *, several: bool) -> Block:
    cells = [(line.row, "full" if line.quant == "none" else line.quant) for line in lines]
    headings = ("row", "quant")
    if several:
        headings = (*headings, "seeds")
        cells = [
            (*cell, str(line.num_seeds or "")) for cell, line in zip(cells, lines, strict=True)
        ]
    return Block(headings=headings, cells=tuple(cells), justify="left")


def _num(lines: Sequence[Line]) -> int:
    return len(lines[0].cells)


def _metric_block(lines: Sequence[Line], place: int) -> Block:
    title = _TITLES[lines[0].cells[place].metric]
    return Block(
        headings=(f"{title}\nours", " \ntheirs", " \ndiff", " \nin"),
        cells=tuple(_shown(line.cells[place]) for line in lines),
        justify="right",
    )


def _shown(cell: Cell) -> tuple[str, ...]:
    difference = "" if cell.difference is None else f"{cell.difference:+z.{cell.decimals}f}"
    return (
        format_ours(cell.ours, cell.decimals),
        format_theirs(cell.theirs, cell.decimals),
        difference,
        _MARKS[cell.inside],
    )


def _table(lines: Sequence[Line], blocks: Sequence[Block]) -> Table:
    table = empty_table(blocks)
    for place, line in enumerate(lines):
        cells = [cell for block in blocks for cell in block.cells[place]]
        shown = [Text(cell, style=_STYLES.get(cell, "")) for cell in cells]
        last = place + 1 < len(lines) and lines[place + 1].row != line.row
        table.add_row(*shown, end_section=last)
    return table
