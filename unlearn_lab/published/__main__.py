"""`python -m unlearn_lab.published TABLE`: compares our records with published numbers."""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from unlearn_lab.config.exits import REFUSED
from unlearn_lab.published.comparison import Comparison, compare
from unlearn_lab.published.comparison_table import print_comparison
from unlearn_lab.published.headline import compare_headline
from unlearn_lab.published.tables import (
    HEADLINE,
    PUBLISHED,
    load,
    load_headline,
    names,
)
from unlearn_lab.record.leaf import Record, text
from unlearn_lab.record.results import read_records, read_sweeps
from unlearn_lab.report.terminal.table import open_console

_HEADLINES = {HEADLINE: PUBLISHED, f"{HEADLINE}_corrected": "corrected"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a comparison, or the names of all; exits with 2 when the request is invalid."""
    asked = _parser().parse_args(arguments)
    if asked.table is None:
        _print_names()
        return
    try:
        _require_known(asked.table)
        records = chosen_records(asked.home, asked.sweep, asked.seed)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(REFUSED)
    comparison = compared(asked.table, records, any_model=asked.any_model)
    if asked.json:
        sys.stdout.write(json.dumps(as_json(comparison), indent=1) + "\n")
    else:
        print_comparison(open_console(sys.stdout), comparison)


def chosen_records(home: Path | None, sweep: str | None, seed: int | None) -> list[Record]:
    """Returns the records of a home, filtered by sweep and seed.

    Raises `ValueError` for a home that does not exist, and for a sweep or seed that no record has.

    Args:
        home: `runtime.home` of the sweeps; None for $UNLEARN_LAB_HOME or ./lab, which need not
            exist.
        sweep: name of the only sweep, None for all.
        seed: the only seed, None for all.
    """
    if home is not None and not home.is_dir():
        raise ValueError(f"--home={home}: no such folder; name the runtime.home of a sweep")
    place = home or Path(os.environ.get("UNLEARN_LAB_HOME", "lab"))
    if sweep is not None and sweep not in (there := list(read_sweeps(place))):
        raise ValueError(f"--sweep={sweep}: {_nearest(sweep, there)}")
    records: list[Record] = list(read_records(place, sweep))
    if seed is None:
        return records
    seeds = list(dict.fromkeys(text(record, "seed") for record in records))
    if str(seed) not in seeds:
        raise ValueError(f"--seed={seed}: {_nearest(str(seed), seeds)}")
    return [record for record in records if text(record, "seed") == str(seed)]


def compared(name: str, records: Sequence[Record], *, any_model: bool) -> Comparison:
    """Builds a comparison.

    Args:
        name: a table or headline, with a suffix for a further form.
        records: our records, oldest first.
        any_model: whether records of other models count.
    """
    if name in _HEADLINES:
        headline = load_headline()
        tables = {stem: load(stem) for stem in headline.tables}
        form = _HEADLINES[name]
        return compare_headline(name, headline, tables, form, records, any_model=any_model)
    stem, form = names()[name]
    return compare(name, load(stem), form, records, any_model=any_model)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Returns the comparison as plain values; `values` has one entry per figure, null if empty."""
    values = [
        {
            "row": line.row,
            "quant": line.quant,
            "metric": cell.metric,
            "ours": None if cell.ours is None else asdict(cell.ours),
            "theirs": cell.theirs,
            "difference": cell.difference,
            "inside": cell.inside,
        }
        for line in comparison.lines
        for cell in line.cells
    ]
    fields = ("name", "title", "sources", "remarks", "runs", "notes", "closing")
    return {**{key: getattr(comparison, key) for key in fields}, "values": values}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unlearn_lab.published",
        description="Our results beside published ones: value, difference, and whether the "
        "published value lies in our interval.",
    )
    parser.add_argument("table", nargs="?", metavar="TABLE", help="without it, all are listed")
    parser.add_argument(
        "--home", type=Path, help="runtime.home of the sweeps (default: $UNLEARN_LAB_HOME or lab)"
    )
    parser.add_argument("--sweep", metavar="NAME", help="records of this sweep only")
    parser.add_argument("--seed", type=int, metavar="N", help="records of this seed only")
    parser.add_argument("--any-model", action="store_true", help="also records of other models")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _require_known(table: str) -> None:
    known = [*names(), *_HEADLINES]
    if table not in known:
        raise ValueError(f"TABLE={table}: {_nearest(table, known)}")


def _nearest(wanted: str, there: Sequence[str]) -> str:
    close = difflib.get_close_matches(wanted, there, n=1, cutoff=0.4)
    listed = ", ".join(there) or "none at all"
    return f"did you mean {close[0]}?" if close else f"there are {listed}"


def _print_names() -> None:
    """Prints each table with its title; further forms compare the same numbers with other runs."""
    console = open_console(sys.stdout)
    console.print("Published tables (python -m unlearn_lab.published TABLE):")
    headings = {
        name: load(stem).title if form == PUBLISHED else f"the same, compared with our {form} form"
        for name, (stem, form) in names().items()
    }
    for name, form in _HEADLINES.items():
        title = load_headline().title
        headings[name] = title if form == PUBLISHED else f"the same, compared with our {form} form"
    for name, heading in headings.items():
        console.print(Text(f"  {name:<32}{heading}"), soft_wrap=True)


if __name__ == "__main__":
    main()
