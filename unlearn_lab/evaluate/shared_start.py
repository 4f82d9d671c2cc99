"""Groups prompts by the tokens that they begin with, which need to be computed only once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from unlearn_lab.evaluate.encode import num_new
from unlearn_lab.evaluate.metric import Continue

_SHARED = 16
"""Least number of tokens at the beginning of prompts that is computed once for all of them."""


@dataclass(frozen=True)
class Group:
    """Prompts that share their first `shared` tokens; the last token is never one of them."""

    shared: int
    prompts: Mapping[Continue, list[int]]

    @property
    def saved(self) -> int:
        """Number of tokens that need not be computed."""
        return self.shared * (len(self.prompts) - 1)


def groups(prompts: Mapping[Continue, list[int]]) -> list[Group]:
    """Groups prompts by common beginnings, so that as few tokens as possible are computed twice."""
    by_start = dict[tuple[int, ...], dict[Continue, list[int]]]()
    for request, ids in prompts.items():
        by_start.setdefault(tuple(ids[:_SHARED]), {})[request] = ids
    found = [group for start in by_start.values() for group in _divided(start)]
    alone = {
        request: ids
        for group in found
        if group.saved == 0
        for request, ids in group.prompts.items()
    }
    return [
        *(group for group in found if group.saved > 0),
        *([Group(0, alone)] if alone else []),
    ]


def _divided(prompts: Mapping[Continue, list[int]]) -> list[Group]:
    """Returns prompts as one group, or as several with longer beginnings if these save more."""
    lists = list(prompts.values())
    common = _common(lists)
    shared = min(common, min(map(len, lists)) - 1)
    whole = Group(shared if shared >= _SHARED else 0, prompts)
    if len(prompts) == 1 or shared < common:
        return [whole]
    by_next = dict[int, dict[Continue, list[int]]]()
    for request, ids in prompts.items():
        by_next.setdefault(ids[common], {})[request] = ids
    if len(by_next) == 1:
        return [whole]
    parts = [group for part in by_next.values() for group in _divided(part)]
    return parts if sum(part.saved for part in parts) > whole.saved else [whole]


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
