"""Distributes columns over tables, so that no number is truncated on a narrow terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from unlearn_lab.record.leaf import memories, shown_metrics, title
from unlearn_lab.report.rows import Row

GAP = 2
_NUM_CHOICES = 3
_NARROWEST_KEY = 8
_WORDS = 18
"""Width of a verdict's lines, in terminal cells."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Columns that stay in one table.

    Attributes:
        headings: one per column.
        cells: one tuple per row, with one cell per column.
        justify: alignment of all columns.
    """

    headings: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    justify: Literal["left", "right"]

    @property
    def width(self) -> int:
        """Width in terminal cells, with a gap after each column."""
        columns = zip(self.headings, zip(*self.cells, strict=True), strict=True)
        return sum(GAP + max(map(_width, (title, *column))) for title, column in columns)


def arrange(
    rows: Sequence[Row], headings: tuple[str, ...], width: int, arrow: str
) -> list[list[Block]]:
    """Returns the blocks of each table; every table begins with the key columns.

    The first table ends with the verdicts. Key columns that leave too little room are merged into
    one.

    Args:
        rows: the rows of all tables.
        headings: headings of the key columns.
        width: width of a table, in terminal cells.
        arrow: separates full precision from quantized.
    """
    keys = Block(headings=headings, cells=tuple(row.labels for row in rows), justify="left")
    words = Block(
        headings=("verdict",),
        cells=tuple(("\n".join(wrap(row.verdict or "control", _WORDS)),) for row in rows),
        justify="left",
    )
    metrics = shown_metrics([row.record for row in rows])
    scores = [_score_block(rows, metric, arrow) for metric in metrics]
    widest = max(words.width + scores[0].width, *(block.width for block in scores[1:]))
    if keys.width + widest > width:
        keys = _folded(keys, width - widest)
    recovered = memories(*(row.record for row in rows))
    returns = [_return_block(rows, recovered)]
    if keys.width + returns[0].width > width:
        returns = [_return_block(rows, (metric,)) for metric in recovered]
    groups = pack([*scores, *returns], width - keys.width, words.width)
    groups[0].append(words)
    return [[keys, *group] for group in groups]


def format_pair(full: float | None, quantized: float | None, arrow: str, *, both: bool) -> str:
    """Formats a score in both precisions, or in full precision only, so that arrows align.

    Args:
        full: the full-precision score.
        quantized: the quantized score; ignored unless `both`.
        arrow: separates the two.
        both: whether the row has a quantizer.
    """
    left = _decimal(full)
    return f"{left:>5} {arrow} {_decimal(quantized):>5}" if both else f"{left:>5}"


def format_share(share: float | None) -> str:
    """Formats a share in whole per cent; "-" where it is undefined."""
    return "-" if share is None else f"{100 * share:z.0f} %"


def format_delta(delta: float | None) -> str:
    """Formats points with a sign; "-" where they are undefined."""
    return "-" if delta is None else f"{delta:+z.1f}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:z.1f}"


def _width(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))


def _score_block(rows: Sequence[Row], metric: str, arrow: str) -> Block:
    cells = tuple((format_pair(*row.scores(metric), arrow, both=row.quantized),) for row in rows)
    return Block(headings=(title(metric),), cells=cells, justify="left")


def _return_block(rows: Sequence[Row], metrics: Sequence[str]) -> Block:
    headings = [f"{title(metric)}\n{word}" for metric in metrics for word in ("change", "back")]
    cells = [
        tuple(
            cell
            for metric in metrics
            for cell in (format_delta(row.delta(metric)), format_share(row.share(metric)))
        )
        for row in rows
    ]
    return Block(headings=tuple(headings), cells=tuple(cells), justify="right")


def pack(blocks: Sequence[Block], width: int, reserved: int) -> list[list[Block]]:
    """Packs blocks into tables greedily: a block that does not fit opens a new table.

    Args:
        blocks: the blocks in order.
        width: width of a table, in terminal cells.
        reserved: cells to keep free in the first table.
    """
    groups: list[list[Block]] = [[]]
    room = width - reserved
    for block in blocks:
        if groups[-1] and block.width > room:
            groups.append([])
            room = width
        groups[-1].append(block)
        room -= block.width
    return groups


def _folded(keys: Block, width: int) -> Block:
    """Merges all key columns into one, whose words wrap within `width`."""
    room = max(width - GAP, _NARROWEST_KEY)
    cells = tuple(("\n".join(_lines(labels, keys.headings, room)),) for labels in keys.cells)
    return Block(headings=("leaf",), cells=cells, justify="left")


def _lines(labels: Sequence[str], headings: Sequence[str], room: int) -> list[str]:
    words = [
        label if place < _NUM_CHOICES else f"{headings[place]}={label}"
        for place, label in enumerate(labels)
        if label
    ]
    lines = [""]
    for word in words:
        joined = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], joined] if cell_len(joined) <= room else [*lines, word]
    return [
        line[start : start + room] for line in lines for start in range(0, max(len(line), 1), room)
    ]


def empty_table(blocks: Sequence[Block]) -> Table:
    """Returns a table with the headings of `blocks` and no rows."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for block in blocks:
        for heading in block.headings:
            table.add_column(Text(heading), no_wrap=True, justify=block.justify)
    return table
