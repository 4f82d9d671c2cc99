"""Prints a sweep's results: one row per leaf, in as many tables as the width requires."""

import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_lab.record.leaf import FORGET_QUALITY, Record, main_metrics, memories, text, utility
from unlearn_lab.record.leaf import title as metric_title
from unlearn_lab.record.verdict import VerdictThresholds
from unlearn_lab.report.notes import notes
from unlearn_lab.report.rows import Row, build_rows, key_headings
from unlearn_lab.report.terminal.blocks import Block, arrange, empty_table

_STYLES = {
    "comes back": "bold red",
    "destroyed": "magenta",
    "destroyed by the quantizer": "magenta",
    "quantizer keeps too little to tell": "dim",
    "not forgotten": "yellow",
    "forgotten": "green",
    "stays forgotten": "green",
    "not judged": "dim",
}
_PIPED_WIDTH = 120
_USEFUL = {"utility": "KnowMem on the retain set"}
_UNITS = {
    "privleak": ", PrivLeak in per cent",
    FORGET_QUALITY: (
        ", Forget quality as log10 of its p-value (0: not distinguishable from the retrain "
        "control; lower: distinguishable, whether it knows more or less)"
    ),
}


def open_console(stream: Any) -> Console:
    """Creates a console on the text `stream`, with colours on a terminal only.

    It is as wide as the terminal; for a file or pipe, $COLUMNS or 120 columns.
    """
    if stream.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return Console(file=stream, highlight=False)
    return Console(file=stream, highlight=False, width=_PIPED_WIDTH)


def print_results(
    console: Console, records: Sequence[Record], thresholds: VerdictThresholds
) -> None:
    """Prints the results of a sweep, or a single line when there is no record.

    Numbers are never truncated: columns that do not fit move to a further table, which repeats the
    key columns.

    Args:
        console: where to print; its width decides the layout.
        records: one per leaf.
        thresholds: thresholds between verdicts.
    """
    if not records:
        console.print("No results yet.")
        return
    arrow = "->" if console.options.ascii_only else "→"
    rows = build_rows(records, thresholds)
    console.print(Text(title(records), style="bold"))
    for blocks in arrange(rows, key_headings(records), console.width, arrow):
        console.print(_table(rows, blocks))
        console.print()
    console.print(Text(legend(arrow, records), style="dim"))
    for note in notes(records, thresholds):
        console.print(Text(note, style="dim"))


def title(records: Sequence[Record]) -> str:
    """Returns sweep, model and data set where all leaves share them, and the number of leaves."""
    leaves = "1 leaf" if len(records) == 1 else f"{len(records)} leaves"
    parts = [_only(records, key) for key in ("sweep", "model", "dataset")]
    return ", ".join(part for part in (*parts, leaves) if part)


def legend(arrow: str, records: Sequence[Record]) -> str:
    """Explains the columns; `arrow` separates full precision from quantized."""
    memory = " and ".join(map(metric_title, memories(*records)))
    useful = dict.fromkeys(name for name in map(utility, records) if name is not None)
    explained = [
        *([f"{memory}: what is left of the forget set"] if memory else []),
        *(
            f"{metric_title(name)}: {_USEFUL.get(name, 'what is left of the rest')}"
            for name in useful
        ),
    ]
    units = [_UNITS[metric] for metric in main_metrics(records) if metric in _UNITS]
    return (
        f"Scores: full precision {arrow} quantized, 0-100{''.join(units)}. "
        f"{'; '.join(explained)}. change: "
        "points that quantization adds. back: 0 % = nothing came back, 100 % = as much as the "
        'quantized target knows, "-" = undefined. A destroyed model has lost the rest as well, '
        "so it is not called forgotten, and nothing is said about coming back. A quantizer that "
        "destroys the model, or the target's own memory of the forget set, is no success either."
    )


def _table(rows: Sequence[Row], blocks: Sequence[Block]) -> Table:
    table = empty_table(blocks)
    for place, row in enumerate(rows):
        cells = [Text(cell) for block in blocks for cell in block.cells[place]]
        if row.verdict is not None and blocks[-1].headings == ("verdict",):
            cells[-1].stylize(_STYLES[row.verdict])
        last_control = row.who != "unlearned" and rows[place + 1].who == "unlearned"
        style = "dim" if row.who != "unlearned" else ""
        table.add_row(*cells, style=style, end_section=last_control)
    return table


def _only(records: Sequence[Record], key: str) -> str:
    values = {text(record, key) for record in records}
    return values.pop() if len(values) == 1 and "-" not in values else ""
