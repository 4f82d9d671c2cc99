"""Parses the rows of a file into texts, questions or prompts, and reports invalid rows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from unlearn_lab.data.corpus import Question, VerbatimPrompt
from unlearn_lab.data.problems import Problem
from unlearn_lab.data.rows import Row, Rows, kind

TEXT = ("text",)
QUESTION = ("question", "answer")
VERBATIM = ("prompt", "gt")
TOLERATED_SHARE = 0.2
"""Tolerated share of faults in a published split: MUSE-News has blank and repeated articles."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK = "is blank"


@dataclass(frozen=True)
class Item:
    """One row of a part.

    Attributes:
        at: line or row, as in `Problem`.
        field: the first column's path in messages, such as `[2].answer`.
        values: the values, in the order of the part's columns.
    """

    at: str
    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a corpus, parsed from a file or hub split.

    Attributes:
        place: the file or hub split.
        columns: the columns of every item.
        items: rows without a fault, or with blank values.
        problems: faults that make the part unusable.
        remarks: faults that are reported and tolerated.
    """

    place: str
    columns: tuple[str, ...]
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    remarks: tuple[Problem, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of a part with the column `text`."""
        return tuple(item.values[0] for item in self.items)

    @property
    def questions(self) -> tuple[Question, ...]:
        """The pairs of a part with the columns `question` and `answer`."""
        return tuple(Question(*item.values) for item in self.items)

    @property
    def prompts(self) -> tuple[VerbatimPrompt, ...]:
        """The pairs of a part with the columns `prompt` and `gt`."""
        return tuple(VerbatimPrompt(*item.values) for item in self.items)


def parse(rows: Rows, columns: tuple[str, ...], *, tolerant: bool) -> Part:
    """Parses rows into items; ignores further columns.

    Args:
        rows: the rows of a file or hub split.
        columns: the required columns.
        tolerant: makes blank values remarks, not problems, if they are fewer than
            `TOLERATED_SHARE` of the rows.
    """
    items, problems, blanks = list[Item](), list(rows.problems), list[Problem]()
    for row in rows.rows:
        faults = list(_faults(rows.place, row, columns))
        blanks += [fault for fault in faults if fault.what == _BLANK]
        problems += [fault for fault in faults if fault.what != _BLANK]
        if all(fault.what == _BLANK for fault in faults):
            items.append(Item(row.at, _label(row, columns[0]), _values(row, columns)))
    tolerated = tolerant and len(blanks) < TOLERATED_SHARE * len(rows.rows)
    return Part(
        place=rows.place,
        columns=columns,
        items=tuple(items),
        problems=(*problems, *(() if tolerated else blanks)),
        remarks=tuple(replace(blank, what=f"{_BLANK}; kept, as published") for blank in blanks)
        if tolerated
        else (),
    )


def _values(row: Row, columns: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(row.value, dict):
        return tuple(row.value[column] for column in columns)
    return (str(row.value),)


def _label(row: Row, column: str) -> str:
    """Returns the field's path: `[2].answer` in an array of objects, `[2]` in one of texts."""
    if isinstance(row.value, dict):
        return f"{row.item}.{column}" if row.item else column
    return row.item or column


def _faults(place: str, row: Row, columns: tuple[str, ...]) -> Iterator[Problem]:
    wanted = f"an object with {' and '.join(columns)}"
    if not isinstance(row.value, dict):
        if columns != TEXT:
            what = f"is {kind(row.value)}; must be {wanted}"
            yield Problem(place, row.at, row.item or columns[0], what)
        elif not isinstance(row.value, str):
            what = f"is {kind(row.value)}; must be a text or {wanted}"
            yield Problem(place, row.at, row.item or TEXT[0], what)
        elif (what := _fault(row.value)) is not None:
            yield Problem(place, row.at, _label(row, TEXT[0]), what)
        return
    for column in columns:
        if column not in row.value:
            there = ", ".join(map(str, row.value)) or "none"
            what = f"missing; fields: {there}"
        else:
            what = _fault(row.value[column])
        if what is not None:
            yield Problem(place, row.at, _label(row, column), what)


def _fault(value: object) -> str | None:
    if not isinstance(value, str):
        return f"is {kind(value)}; must be a text"
    if not value.strip():
        return _BLANK
    half = _SURROGATE.search(value)
    if half is not None:
        return f"contains the lone surrogate \\u{ord(half[0]):04x} at position {half.start()}"
    return None
