"""Finds texts that are in two splits, which would make every comparison of them meaningless."""

from unlearn_lab.data.parts import TOLERATED_SHARE, Item, Part
from unlearn_lab.data.problems import Problem


def leaks(known: Part, other: Part, *, tolerant: bool) -> tuple[list[Problem], list[Problem]]:
    """Texts of `other` that are in `known` too, but for white space: problems, then remarks.

    A `tolerant` comparison makes one remark of less than `TOLERATED_SHARE` of either.
    """
    seen: dict[str, Item] = {}
    for item in known.items:
        seen.setdefault(_normal(item), item)
    found = [(item, seen[_normal(item)]) for item in other.items if _normal(item) in seen]
    found = [(item, first) for item, first in found if _normal(item)]
    smaller = min(len(known.items), len(other.items))
    if tolerant and found and len(found) < TOLERATED_SHARE * smaller:
        item, first = found[0]
        what = (
            f"{len(found)} of {len(other.items)} texts are in {known.place} too, "
            f"this one at {first.at} ({first.field})"
        )
        return [], [Problem(other.place, item.at, item.field, what)]
    return [
        Problem(other.place, item.at, item.field, f"the same text as {_where(known, first)}")
        for item, first in found
    ], []


def _where(part: Part, item: Item) -> str:
    array = f" ({item.field})" if item.field.startswith("[") else ""
    return f"{part.place}:{item.at}{array}; a text may be in one split only"


def _normal(item: Item) -> str:
    return " ".join(item.values[0].split())
