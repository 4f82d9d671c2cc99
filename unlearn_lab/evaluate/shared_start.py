"""Groups prompts by the tokens that they begin with, which need to be computed only once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from unlearn_lab.evaluate.encode import num_new
from unlearn_lab.evaluate.metric import Continue

_SHARED = 16
"""Least number of tokens at the beginning of prompts that is computed once for all of them: fewer
are not worth a forward pass of their own."""
_STEP = 64
"""A further batch costs as much for each new token as the computation of so many prompt tokens: 35
to 142 were measured (benchmarks/RESULTS.md)."""


@dataclass(frozen=True)
class Group:
    """Prompts that share their first `shared` tokens; the last token is never one of them."""

    shared: int
    prompts: Mapping[Continue, list[int]]

    @classmethod
    def of(cls, prompts: Mapping[Continue, list[int]]) -> "Group":
        """Returns a group of at least one prompt that shares as much as possible."""
        lists = list(prompts.values())
        shared = min(_common(lists), min(map(len, lists)) - 1)
        return cls(shared if shared >= _SHARED and len(lists) > 1 else 0, prompts)

    @property
    def worth(self) -> int:
        """Prompt tokens saved by batches of their own, less what these cost; 0 if nothing is."""
        steps = max(num_new(request, len(ids)) for request, ids in self.prompts.items())
        return max(0, self.shared * (len(self.prompts) - 1) - _STEP * steps)


def groups(prompts: Mapping[Continue, list[int]]) -> list[Group]:
    """Groups prompts by common beginnings where this saves time."""
    by_start = dict[tuple[int, ...], dict[Continue, list[int]]]()
    for request, ids in prompts.items():
        by_start.setdefault(tuple(ids[:_SHARED]), {})[request] = ids
    found = [group for start in by_start.values() for group in _divided(start)]
    others = {
        request: ids
        for group in found
        if group.worth == 0
        for request, ids in group.prompts.items()
    }
    return [
        *(group for group in found if group.worth > 0),
        *([Group.of(others)] if others else []),
    ]


def _divided(prompts: Mapping[Continue, list[int]]) -> list[Group]:
    """Returns prompts as one group, or as several with longer beginnings if that is worth more."""
    whole, common = Group.of(prompts), _common(list(prompts.values()))
    by_next = dict[int | None, dict[Continue, list[int]]]()
    for request, ids in prompts.items():
        following = ids[common] if len(ids) > common else None
        by_next.setdefault(following, {})[request] = ids
    if len(by_next) == 1:
        return [whole]
    parts = [group for part in by_next.values() for group in _divided(part)]
    return parts if sum(part.worth for part in parts) > whole.worth else [whole]


def _common(lists: list[list[int]]) -> int:
    """Returns with how many equal items all lists begin: as many as the first and last in order."""
    first, last = min(lists), max(lists)
    differing = (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differing, min(len(first), len(last)))


def batches(group: Group, batch_tokens: int) -> Iterator[list[Continue]]:
    """Yields batches of similar length, longest first, so that too large a batch fails early."""
    length = {
        request: len(ids) + num_new(request, len(ids)) for request, ids in group.prompts.items()
    }
    queue = sorted(length, key=lambda request: -length[request])
    while queue:
        size = max(1, batch_tokens // length[queue[0]])
        yield queue[:size]
        queue = queue[size:]
