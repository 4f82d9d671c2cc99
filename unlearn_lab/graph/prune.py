"""Removes what was chosen from a cache, but nothing that a running process uses."""

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
    """Which items are meant; what is None does not matter, and all that is given must hold.

    `before` is a time (seconds since 1970); `keys` are the only ones meant, `but_keys` are not.
    """

    stage: str | None
    before: float | None
    keys: Collection[str] | None
    but_keys: Collection[str] | None

    def __call__(self, item: Item) -> bool:
        """Whether the item is meant."""
        return (
            (self.stage is None or item.stage == self.stage)
            and (self.before is None or item.built <= self.before)
            and (self.keys is None or item.key in self.keys)
            and (self.but_keys is None or item.key not in self.but_keys)
        )


@dataclass(frozen=True, kw_only=True)
class PrunePlan:
    """Of what was chosen: what may go, and by path who uses the rest."""

    free: Sequence[Item]
    used: Mapping[Path, str]


def plan_prune(items: Iterable[Item], active: ActiveUses) -> PrunePlan:
    """Tells what may go now."""
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
    """Removes items and returns those that are gone; whatever is in use by now stays.

    Each is renamed in one step and its files removed after: who comes later does not find it and
    builds it again, and nobody finds a half. What may not be renamed stays. Raises `OSError` where
    the cache cannot be written at all.
    """
    moved = dict[Path, Item]()
    with sole_pruner(root, timeouts) as still_alone:
        for item in plan_prune(items, active).free:
            if not still_alone():
                break
            trash = trash_path(item.path)
            try:
                item.path.rename(trash)
            except (FileNotFoundError, PermissionError):  # another process was faster, or owns it
                continue
            moved[trash] = item
    for trash in moved:
        if trash.is_dir():
            shutil.rmtree(trash, ignore_errors=True)
        else:
            trash.unlink(missing_ok=True)
    return [item for trash, item in moved.items() if not trash.exists()]
