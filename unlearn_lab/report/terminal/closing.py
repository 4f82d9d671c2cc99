"""Prints a sweep's closing summary: stages built and reused, failures, output paths."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unlearn_lab.config.redaction import redact
from unlearn_lab.report.terminal.blocks import Block, empty_table


@dataclass(frozen=True, kw_only=True)
class StageTally:
    """Numbers of artifacts of one stage that a sweep built and reused.

    Attributes:
        stage: the stage's name.
        built: number of built artifacts.
        reused: number of reused artifacts.
        seconds: total build time.
    """

    stage: str
    built: int
    reused: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FailedLeaf:
    """A leaf without its own result: its overrides or label, and the reason."""

    leaf: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Closing:
    """Content of a sweep's closing summary.

    Attributes:
        done: number of finished leaves.
        stages: numbers of built and reused artifacts by stage.
        failed: leaves that failed.
        skipped: jobs that were not run because another one has the same result.
        again: why stages were rebuilt: changed code, files, libraries or versions.
        records: path of the records file.
        report: path of the HTML report, if one was written.
        wandb: how records reached Weights & Biases, in one line; may be empty.
    """

    done: int
    stages: Sequence[StageTally]
    failed: Sequence[FailedLeaf]
    skipped: Sequence[FailedLeaf]
    again: Sequence[str]
    records: Path
    report: Path | None
    wandb: str


def print_closing(console: Console, closing: Closing) -> None:
    """Prints the summary below the table; long reasons and paths are never truncated."""
    if closing.stages:
        console.print(_stages(closing.stages))
    print_again(console, closing.again)
    console.print(Text(_count(closing), style="bold red" if closing.failed else "bold"))
    _print_leaves(console, "failed", closing.failed, "red")
    _print_leaves(console, "skipped", closing.skipped, "yellow")
    _print_place(console, "records", str(closing.records))
    if closing.report is not None:
        _print_place(console, "report", str(closing.report))
    if closing.wandb:
        _print_place(console, "W&B", closing.wandb)


def print_again(console: Console, reasons: Sequence[str]) -> None:
    """Prints why stages are rebuilt, one line per reason."""
    for reason in reasons:
        console.print(Text.assemble(("built again: ", "yellow"), redact(reason)))


def format_seconds(seconds: float) -> str:
    """Formats a duration: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def stage_table(*numbers: str) -> Table:
    """Returns an empty table with a column for the stage's name and these number columns."""
    names = Block(headings=("stage",), cells=(), justify="left")
    return empty_table([names, Block(headings=numbers, cells=(), justify="right")])


def _stages(stages: Sequence[StageTally]) -> Table:
    table = stage_table("built", "reused", "time")
    for tally in stages:
        table.add_row(
            Text(tally.stage), str(tally.built), str(tally.reused), format_seconds(tally.seconds)
        )
    return table


def _count(closing: Closing) -> str:
    parts = [f"{closing.done} done", f"{len(closing.failed)} failed"]
    parts += [f"{len(closing.skipped)} skipped"] if closing.skipped else []
    return "leaves: " + ", ".join(parts)


def _print_leaves(console: Console, word: str, leaves: Sequence[FailedLeaf], style: str) -> None:
    for leaf in leaves:
        console.print(Text.assemble((f"{word}: ", style), redact(leaf.leaf)), soft_wrap=False)
        console.print(Padding(Text(redact(leaf.reason), overflow="fold"), (0, 0, 0, 4)))


def _print_place(console: Console, word: str, place: str) -> None:
    """Prints on one line of any length, so that a path can be copied."""
    console.print(Text(redact(f"{word + ':':<9}{place}")), soft_wrap=True)
