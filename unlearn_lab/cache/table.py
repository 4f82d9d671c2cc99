"""Prints a cache in the terminal: one line per item, or the bytes of each stage."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_lab.cache.words import Words, format_age, format_bytes
from unlearn_lab.graph.inventory import Item, count_bytes

SHOWN_KEY = 12
"""Digits of a key that are printed; the commands accept any unique prefix."""

_HEADINGS = ("stage", "key", "what", "size", "age", "sweeps", "in use by")
_NUMBERS = ("size", "age", "artifacts", "leftovers")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One printed line of an item.

    Attributes:
        item: the item.
        what: what it is, in words.
        sweeps: sweeps with records that depend on it.
        holder: the process that uses it now; empty if none.
    """

    item: Item
    what: str
    sweeps: tuple[str, ...]
    holder: str

    def as_json(self) -> dict[str, object]:
        """Returns plain values; `built` in seconds since 1970, `damage` null if intact."""
        item = self.item
        return {
            "stage": item.stage,
            "key": item.key,
            "kind": item.kind,
            "what": self.what,
            "bytes": count_bytes([item]),
            "built": round(item.built, 3),
            "sweeps": list(self.sweeps),
            "in_use": self.holder or None,
            "damage": item.damage,
            "path": str(item.path),
        }


def lines(
    items: Iterable[Item],
    words: Words,
    sweeps: Mapping[str, tuple[str, ...]],
    holders: Mapping[Path, str],
) -> list[Line]:
    """Returns one line per item, in the given order.

    Args:
        items: the items to list.
        words: describes them.
        sweeps: sweeps that depend on an artifact, by key.
        holders: processes that use an item, by its path.
    """
    return [
        Line(
            item=item,
            what=words.of(item),
            sweeps=sweeps.get(item.key, ()),
            holder=holders.get(item.path, ""),
        )
        for item in items
    ]


def print_lines(console: Console, shown: Sequence[Line]) -> None:
    """Prints one row per line; columns that would be empty are left out."""
    now = time.time()
    rows = [_cells(line, now) for line in shown]
    used = [place for place in range(len(_HEADINGS)) if any(row[place] for row in rows)]
    _print(
        console,
        [_HEADINGS[place] for place in used],
        [
            ([row[place] for place in used], bool(line.item.damage))
            for row, line in zip(rows, shown, strict=True)
        ],
    )


def print_sizes(console: Console, items: Sequence[Item], stages: Sequence[str], total: int) -> None:
    """Prints the bytes of each stage, of leftovers and of all; hard links count once.

    Args:
        console: where to print.
        items: the items of the cache.
        stages: stage names in the order to print.
        total: bytes of all files below the cache's root.
    """
    rows = list[tuple[list[str], bool]]()
    for stage in stages:
        here = [item for item in items if item.stage == stage]
        whole = [item for item in here if item.kind == "artifact"]
        left = count_bytes(item for item in here if item.kind != "artifact")
        size = format_bytes(count_bytes(whole))
        rows.append(([stage, str(len(whole)), size, format_bytes(left) if left else ""], False))
    if other := total - count_bytes(items):
        rows.append((["(other files)", "", format_bytes(other), ""], False))
    artifacts = [item for item in items if item.kind == "artifact"]
    rows.append((["total", str(len(artifacts)), format_bytes(total), ""], False))
    _print(console, ["stage", "artifacts", "size", "leftovers"], rows)


def print_line(console: Console, text: str, style: str = "") -> None:
    """Prints a line without wrapping or markup, so that paths can be copied.

    Args:
        console: where to print.
        text: the line.
        style: a style of rich.
    """
    console.print(Text(text, style=style), soft_wrap=True)


def _cells(line: Line, now: float) -> list[str]:
    item, sweeps = line.item, line.sweeps
    further = f" and {len(sweeps) - 1} more" if len(sweeps) > 1 else ""
    return [
        item.stage,
        item.key[:SHOWN_KEY],
        line.what,
        format_bytes(count_bytes([item])),
        format_age(now - item.built),
        f"{sweeps[-1]}{further}" if sweeps else "",
        line.holder,
    ]


def _print(
    console: Console, headings: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]
) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for heading in headings:
        number = heading in _NUMBERS
        table.add_column(
            heading,
            justify="right" if number else "left",
            no_wrap=heading in ("stage", "key", *_NUMBERS),
            overflow="fold",
        )
    for cells, is_bad in rows:
        table.add_row(*(Text(cell) for cell in cells), style="red" if is_bad else "")
    console.print(table)
