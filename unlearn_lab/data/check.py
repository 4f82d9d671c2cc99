"""Reports the contents and faults of a corpus folder: `python -m unlearn_lab.data.check PATH`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_lab.config.exits import REFUSED
from unlearn_lab.config.redaction import redact
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.muse_layout import write_corpus, write_parts
from unlearn_lab.data.parts import Part
from unlearn_lab.data.survey import Survey, survey

_LAYOUTS = {"muse_news": "in MUSE's layout", "custom": "of your own"}
_HEADINGS = ("part", "file", "items", "characters", "shortest", "longest", "begins")
_NUMBERS = range(2, 6)
_SPARE = (6, 1, 5, 4, 3)
_PADDING = 3
_NUM_SHOWN = 30
_PIPED_WIDTH = 140


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks a folder, writes it in MUSE's layout on `--write`, and returns 0 or 2 (refused)."""
    parser = argparse.ArgumentParser(prog="python -m unlearn_lab.data.check", description=__doc__)
    parser.add_argument("path", type=Path, help="a folder in MUSE's layout, or one of your own")
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write the corpus here, in MUSE's layout"
    )
    asked = parser.parse_args(arguments)
    console = _console()
    if not asked.path.is_dir():
        what = "give one with forget, retain and holdout files, or one in MUSE's layout"
        _line(console, f"{asked.path}: no such folder; {what}")
        return REFUSED
    try:
        found = survey(asked.path)
        _print(console, asked.path, found)
        if found.corpus is None:
            return REFUSED
        if asked.write is not None:
            _write(found, found.corpus, asked.write)
            use = f"dataset=muse_news dataset.path={asked.write}"
            _line(console, f"Written in MUSE's layout: {use}")
    except (ValueError, OSError) as error:
        _line(console, f"{asked.write or asked.path}: {error}")
        return REFUSED
    return 0


def _console() -> Console:
    """Returns a console as wide as the terminal; for a file or pipe, $COLUMNS or 140 wide."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPED_WIDTH)


def _print(console: Console, folder: Path, found: Survey) -> None:
    _line(console, f"{folder}: a corpus {_LAYOUTS[found.dataset]}")
    console.print(_table(folder, found, console.width))
    if found.corpus is not None:
        _line(console, _measured(found.corpus))
    for heading, lines in (("Warnings", found.warnings), ("Problems", found.problems)):
        if lines:
            _line(console, f"\n{heading} ({len(lines)})")
        for line in lines:
            _line(console, f"  {line}")
    if not found.problems:
        asked = found.corpus is not None and found.corpus.probes
        how = f"dataset={found.dataset} dataset.path={folder}{' eval=questions' if asked else ''}"
        _line(console, f"\nNo problems. Use it: {how}")


def _table(folder: Path, found: Survey, width: int) -> Table:
    """Builds the table of parts; drops columns that do not fit `width`, least useful first."""
    lines = [_cells(folder, name, part) for name, part in found.parts.items()]
    columns = [max(map(len, column)) for column in zip(_HEADINGS, *lines, strict=True)]
    shown = list(range(len(_HEADINGS)))
    for spare in _SPARE:
        if sum(columns[place] + _PADDING for place in shown) > width:
            shown.remove(spare)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for place in shown:
        number = place in _NUMBERS
        table.add_column(_HEADINGS[place], no_wrap=True, justify="right" if number else "left")
    for cells, part in zip(lines, found.parts.values(), strict=True):
        style = "red" if part.problems else ""
        table.add_row(*(Text(redact(cells[place])) for place in shown), style=style)
    return table


def _cells(folder: Path, name: str, part: Part) -> list[str]:
    lengths = [sum(map(len, item.values)) for item in part.items]
    numbers = [len(lengths), sum(lengths), min(lengths, default=0), max(lengths, default=0)]
    begins = _beginning(part.items[0].values[0]) if part.items else "-"
    file = os.path.relpath(part.place, folder)
    return [name, file, *(f"{number:,}" for number in numbers), begins]


def _beginning(text: str) -> str:
    words = " ".join(text[: 10 * _NUM_SHOWN].split())
    shown = "".join(character for character in words if character.isprintable())
    return f"{shown[:_NUM_SHOWN]}..." if len(shown) > _NUM_SHOWN else shown


def _measured(corpus: Corpus) -> str:
    """Returns a line with the number of items that each metric scores."""
    knowledge = (
        f"{len(getattr(corpus, f'{split}_questions'))} questions "
        f"({len(getattr(corpus, f'{split}_examples'))} examples)"
        for split in ("forget", "retain")
    )
    if corpus.probes:
        return (
            f"\nScored (eval=questions): {len(corpus.forget_pairs)} questions to forget and "
            f"{len(corpus.retain_pairs)} to retain"
        )
    documents = f"{len(corpus.forget_documents)} and {len(corpus.holdout_documents)}"
    return (
        f"\nScored: VerbMem {len(corpus.verbatim)} prompts; KnowMem {next(knowledge)}; Utility "
        f"{next(knowledge)}; PrivLeak {documents} forget and holdout texts"
    )


def _write(found: Survey, corpus: Corpus, folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError("exists and is not empty; name a new folder")
    if corpus.probes:
        raise ValueError("MUSE's layout has no place for a corpus of questions only")
    if found.dataset == "custom":
        write_corpus(corpus, folder)
    else:
        write_parts(found.parts, folder)


def _line(console: Console, line: str) -> None:
    """Prints a line without wrapping or markup, so that paths can be copied."""
    console.print(Text(redact(line)), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
