"""Which stages running processes hold, and whose claims and leases were left by dead ones."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.graph.claim import ClaimTimeouts, Watch, read_heartbeat, read_owner
from unlearn_lab.graph.lease import FOLDER

_MARKS = (".claim", ".lease", ".claim.*.dead", ".lease.*.dead")
"""How the names of claims and leases end; one may just be moved aside, and be put back."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """A running process, in words, and the keys of the stages that it must not lose."""

    holder: str
    keys: frozenset[str]


class ActiveUses:
    """One process's view of all claims and leases below a cache's root.

    A dead process on this host is known at once; of any other a heartbeat tells, which stands
    still for `timeouts.stale_after` seconds before its owner counts as dead. What is not known to
    be dead is in use.
    """

    def __init__(self, root: Path, timeouts: ClaimTimeouts) -> None:
        self._root = root
        self._timeouts = timeouts
        self._watches: dict[Path, Watch] = {}

    def holders(self) -> Mapping[str, str]:
        """The key of each stage in use, and who uses it."""
        uses = [_use(folder) for folder in self.living()]
        return {key: use.holder for use in uses for key in use.keys}

    def living(self) -> list[Path]:
        """The claims and leases whose owners are not known to be dead."""
        return [folder for folder in self._folders() if not self._is_dead(folder)]

    def settle(self) -> None:
        """Waits until every owner was seen to be alive or counts as dead: `silence` at most."""
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
    """What a claim or lease holds; a lease that is not written yet holds nothing.

    Its owner looks for a removal under way once it has written it, and opens nothing before.
    """
    owner = read_owner(folder) or {}
    listed = owner.get("uses")
    keys = {str(key) for key in listed} if isinstance(listed, list) else set[str]()
    if ".claim" in folder.suffixes:
        keys.add(folder.name.split(".")[0])
    holder = f"process {owner['pid']} on {owner['host']}" if owner else "a process that starts"
    return Use(holder=holder, keys=frozenset(keys))
