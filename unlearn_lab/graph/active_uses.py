"""Decides which stages running processes use, and which claims and leases are stale."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.graph.claim import ClaimTimeouts, Watch, read_heartbeat, read_owner
from unlearn_lab.graph.lease import FOLDER

_MARKS = (".claim", ".lease", ".claim.*.dead", ".lease.*.dead")
"""Endings of the names of claims and leases; one that was moved aside may be restored."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """A running process, in words, and the keys of the stages to keep for it."""

    holder: str
    keys: frozenset[str]


class ActiveUses:
    """One process's view of all claims and leases in a cache.

    A process that died on this host is recognised at once; any other counts as dead after
    `timeouts.stale_after` seconds without a heartbeat. A claim or lease whose owner is not known to
    be dead counts as in use.
    """

    def __init__(self, root: Path, timeouts: ClaimTimeouts) -> None:
        self._root = root
        self._timeouts = timeouts
        self._watches: dict[Path, Watch] = {}

    def holders(self) -> Mapping[str, str]:
        """Returns, by key of each stage in use, the process that uses it."""
        uses = [_use(folder) for folder in self.living()]
        return {key: use.holder for use in uses for key in use.keys}

    def living(self) -> list[Path]:
        """Returns the claims and leases whose owners are not known to be dead."""
        return [folder for folder in self._folders() if not self._is_dead(folder)]

    def settle(self) -> None:
        """Waits until every owner was seen alive or counts as dead: up to `stale_after` seconds."""
        open_ = {folder: read_heartbeat(folder) for folder in self.living()}
        while open_:
            time.sleep(self._timeouts.poll)
            living = self.living()
            open_ = {
                folder: beat
                for folder, beat in open_.items()
                if folder in living and read_heartbeat(folder) == beat
            }

    def _is_dead(self, folder: Path) -> bool:
        watch = self._watches.setdefault(folder, Watch(folder, self._timeouts))
        return watch.owner_is_dead()

    def _folders(self) -> list[Path]:
        marks = [path for mark in _MARKS for path in self._root.glob(f"*/*{mark}")]
        return [path for path in marks if path.parent.name != FOLDER or ".lease" in path.name]


def _use(folder: Path) -> Use:
    """Reads the keys that a claim or lease lists; a lease that is not written yet lists none.

    Its owner waits for a prune under way after writing it, and opens no artifact before.
    """
    owner = read_owner(folder) or {}
    listed = owner.get("uses")
    keys = {str(key) for key in listed} if isinstance(listed, list) else set[str]()
    if ".claim" in folder.suffixes:
        keys.add(folder.name.split(".")[0])
    holder = f"process {owner['pid']} on {owner['host']}" if owner else "a process that is starting"
    return Use(holder=holder, keys=frozenset(keys))
