"""Removes selected items from a cache, except those that running processes use."""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.graph.active_uses import ActiveUses
from unlearn_lab.graph.claim import ClaimTimeouts, trash_path
from unlearn_lab.graph.inventory import Item
from unlearn_lab.graph.lease import sole_pruner

_MARKS = ("claim", "lease", "trash")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A filter of cache items: every condition that is not None must hold.

    Attributes:
        stage: name of the stage.
        before: latest build time (seconds since 1970).
        keys: only items with these keys.
        but_keys: no items with these keys.
    """

    stage: str | None
    before: float | None
    keys: Collection[str] | None
    but_keys: Collection[str] | None

    def __call__(self, item: Item) -> bool:
        """Whether the item is selected."""
        return (
            (self.stage is None or item.stage == self.stage)
            and (self.before is None or item.built <= self.before)
            and (self.keys is None or item.key in self.keys)
            and (self.but_keys is None or item.key not in self.but_keys)
        )


@dataclass(frozen=True, kw_only=True)
class PrunePlan:
    """Selected items: those free to remove, and by path the process that uses the others."""

    free: Sequence[Item]
    used: Mapping[Path, str]


def plan_prune(items: Iterable[Item], active: ActiveUses) -> PrunePlan:
    """Splits items into those free to remove and those in use now."""
    holders, living = active.holders(), set(active.living())
    free, used = list[Item](), dict[Path, str]()
    for item in items:
        if item.key in holders:
            used[item.path] = holders[item.key]
        elif item.kind in _MARKS and item.path in living:
            used[item.path] = "a running process"
        else:
            free.append(item)
    return PrunePlan(free=free, used=used)


def remove(
    root: Path, items: Sequence[Item], active: ActiveUses, timeouts: ClaimTimeouts
) -> list[Item]:
    """Removes items and returns the removed ones; items that are in use by now are kept.

    Each item is renamed in one step and its files are deleted afterwards: other processes build it
    again instead of reading a partial one. Items that may not be renamed are kept. Raises `OSError`
    where the cache cannot be written to at all.

    Args:
        root: folder of the cache.
        items: the selected items.
        active: claims and leases of the cache.
        timeouts: timing of claims.
    """
    moved = dict[Path, Item]()
    with sole_pruner(root, timeouts) as still_alone:
        for item in plan_prune(items, active).free:
            if not still_alone():
                break
            trash = trash_path(item.path)
            try:
                item.path.rename(trash)
            except (FileNotFoundError, PermissionError):  # removed meanwhile, or of another user
                continue
            moved[trash] = item
    for trash in moved:
        if trash.is_dir():
            shutil.rmtree(trash, ignore_errors=True)
        else:
            trash.unlink(missing_ok=True)
    return [item for trash, item in moved.items() if not trash.exists()]
