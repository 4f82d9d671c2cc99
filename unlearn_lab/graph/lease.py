"""Leases: what running processes still need, so that nobody prunes it under their hands."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unlearn_lab.graph.claim import Claim, ClaimTimeouts, Watch, break_claim

FOLDER = "leases"
"""Where leases lie below the cache's root, beside the stages."""

_PRUNING = "prune.claim"
_log = logging.getLogger(__name__)


@contextmanager
def lease(root: Path, keys: Iterable[str], timeouts: ClaimTimeouts) -> Iterator[None]:
    """Keeps the artifacts of these stages, built or not, while the block runs.

    A lease is a claim that lists the keys. It is written first and only then is a removal that is
    under way waited for, which in turn claims its right first and then reads the leases: one of
    the two always sees the other. So open what you need inside the block.
    """
    places = root / FOLDER
    places.mkdir(parents=True, exist_ok=True)
    with Claim(places / f"{secrets.token_hex(8)}.lease", timeouts, keys) as claim:
        claim.try_acquire()
        _wait(places / _PRUNING, timeouts)
        _clear(places, timeouts)
        yield


def _clear(places: Path, timeouts: ClaimTimeouts) -> None:
    """Removes the leases of processes that are known to be dead, as killed ones leave them."""
    for folder in places.glob("*.lease"):
        watch = Watch(folder, timeouts)
        if watch.owner_is_dead():
            break_claim(folder, watch.token)


@contextmanager
def sole_pruner(root: Path, timeouts: ClaimTimeouts) -> Iterator[Callable[[], bool]]:
    """Waits until no other process removes artifacts; new leases wait until the block ends.

    Yields what tells whether this is still so: not for a process that was taken for dead.
    """
    places = root / FOLDER
    places.mkdir(parents=True, exist_ok=True)
    while True:
        with Claim(places / _PRUNING, timeouts) as claim:
            if claim.try_acquire():
                yield claim.still_mine
                return
        _wait(places / _PRUNING, timeouts)


def _wait(pruning: Path, timeouts: ClaimTimeouts) -> None:
    watch, said = Watch(pruning, timeouts), False
    while pruning.exists():
        if watch.owner_is_dead():
            break_claim(pruning, watch.token)
            watch = Watch(pruning, timeouts)
            continue
        if not said:
            _log.info("another process prunes the cache; waiting")
            said = True
        time.sleep(timeouts.poll)
