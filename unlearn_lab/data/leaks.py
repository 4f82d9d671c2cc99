"""Finds texts of one split in another, which would invalidate comparisons of the two."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from unlearn_lab.data.parts import TOLERATED_SHARE, Item, Part
from unlearn_lab.data.problems import Problem
from unlearn_lab.data.runs import Index, words

WHOLE, NEAR = 0.9, 0.5
"""Shares of a text's word runs found in another split: from these on, contained and similar."""

_WAY_OUT = "a text may be in one split only, unless dataset.allow_overlap=true"


@dataclass(frozen=True)
class Split:
    """A part to compare with others, and the index of its texts."""

    part: Part

    @cached_property
    def index(self) -> Index:
        """The index of the texts, in their order."""
        return Index(self.part.texts)


@dataclass(frozen=True)
class _Leak:
    """An item that shares word runs with another split: the share (0-1), and how, in words."""

    item: Item
    share: float
    what: str


def leaks(
    known: Split, other: Split, *, tolerant: bool, allowed: bool
) -> tuple[list[Problem], list[Problem]]:
    """Finds texts of `other` that also occur in `known`.

    A text that shares at least `WHOLE` of its word runs with the other split, in either direction,
    is a problem; all texts that share at least `NEAR` become one remark.

    Args:
        known: the split compared with.
        other: the split whose texts are reported.
        tolerant: turns the problems into one remark if they are fewer than `TOLERATED_SHARE` of
            the smaller split.
        allowed: turns any number of problems into one remark.

    Returns:
        Problems and remarks.
    """
    found = list(_leaks(known, other))
    whole = [leak for leak in found if leak.share >= WHOLE]
    near = [leak for leak in found if leak.share < WHOLE]
    smaller = min(len(known.part.items), len(other.part.items))
    remarks = [_remark(known, other, near, "much like texts of {}")] if near else []
    if whole and (allowed or (tolerant and len(whole) < TOLERATED_SHARE * smaller)):
        return [], [_remark(known, other, whole, "in {} too, whole or cut"), *remarks]
    problems = [
        Problem(other.part.place, leak.item.at, leak.item.field, f"{leak.what}; {_WAY_OUT}")
        for leak in whole
    ]
    return problems, remarks


def _remark(known: Split, other: Split, found: list[_Leak], how: str) -> Problem:
    """Summarizes the leaks in one line, located at the first."""
    first = found[0]
    texts = "1 text is" if len(found) == 1 else f"{len(found)} texts are"
    what = f"{texts} {how.format(known.part.place)}; this one {first.what}"
    return Problem(other.part.place, first.item.at, first.item.field, what)


def _leaks(known: Split, other: Split) -> Iterator[_Leak]:
    """Yields texts of `other` that contain one of `known`, then others contained in one."""
    holders = set[int]()
    for item in known.part.items:
        share, at = other.index.share(item.values[0])
        if share >= NEAR:
            holder = other.part.items[at]
            yield _Leak(holder, share, _overlap(holder, item, known.part, share))
            holders.add(at)
    for place, item in enumerate(other.part.items):
        share, at = (0.0, 0) if place in holders else known.index.share(item.values[0])
        if share >= NEAR:
            yield _Leak(item, share, _standing(item, known.part.items[at], known.part, share))


def _overlap(holder: Item, item: Item, part: Part, share: float) -> str:
    where = _where(part, item)
    if words(holder.values[0]) == words(item.values[0]):
        return f"is the same text as {where}"
    return f"holds the text {where}" if share >= WHOLE else f"holds {_percent(share)} of {where}"


def _standing(item: Item, first: Item, part: Part, share: float) -> str:
    where = _where(part, first)
    if words(item.values[0]) == words(first.values[0]):
        return f"is the same text as {where}"
    return f"stands in {where}" if share >= WHOLE else f"is {_percent(share)} the same as {where}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _where(part: Part, item: Item) -> str:
    array = f" ({item.field})" if item.field.startswith("[") else ""
    return f"{part.place}:{item.at}{array}"
