"""Finds texts of one split in another, which would make every comparison of the two meaningless."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from unlearn_lab.data.parts import TOLERATED_SHARE, Item, Part
from unlearn_lab.data.problems import Problem
from unlearn_lab.data.runs import Index, words

WHOLE, NEAR = 0.9, 0.5
"""Of a text's runs of words: where it counts as a text that stands in another, and as alike."""

_WAY_OUT = "a text may be in one split only, unless dataset.allow_overlap=true"


@dataclass(frozen=True)
class Split:
    """A part whose texts are compared with those of others, and their index."""

    part: Part

    @cached_property
    def index(self) -> Index:
        """Of the texts in their order."""
        return Index(self.part.texts)


@dataclass(frozen=True)
class _Leak:
    """An item of one split that has this share in common with another split; `what` says how."""

    item: Item
    share: float
    what: str


def leaks(
    known: Split, other: Split, *, tolerant: bool, allowed: bool
) -> tuple[list[Problem], list[Problem]]:
    """Texts of `other` that are in `known` too, as problems and remarks.

    A text of which `WHOLE` of the runs stand in one of the other split, in either direction, is a
    problem; texts with `NEAR` of them are remarked on. A `tolerant` comparison makes one remark of
    less than `TOLERATED_SHARE` of either split, and one that is `allowed` of any number.
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
    """All of them in one line, with the first one's place."""
    first = found[0]
    texts = "1 text is" if len(found) == 1 else f"{len(found)} texts are"
    what = f"{texts} {how.format(known.part.place)}; this one {first.what}"
    return Problem(other.part.place, first.item.at, first.item.field, what)


def _leaks(known: Split, other: Split) -> Iterator[_Leak]:
    """Texts of `other` that hold one of `known`, then further ones that stand in one."""
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
