"""Marks stages as in use so that a concurrent prune keeps them."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unlearn_lab.graph.claim import Claim, ClaimTimeouts, Watch, break_claim

FOLDER = "leases"
"""Folder of the leases, in the cache's root beside the stages."""

_PRUNING = "prune.claim"
_log = logging.getLogger(__name__)


@contextmanager
def lease(root: Path, keys: Iterable[str], timeouts: ClaimTimeouts) -> Iterator[None]:
    """Protects the artifacts of these stages, built or not, from pruning while the block runs.

    A lease is a claim that lists keys. A process writes its lease, then waits for a prune that is
    under way; a pruner claims the sole right to prune, then reads the leases: one of the two always
    sees the other. Open artifacts only inside the block.

    Args:
        root: folder of the cache.
        keys: keys of the stages.
        timeouts: timing of claims.
    """
    places = root / FOLDER
    places.mkdir(parents=True, exist_ok=True)
    with Claim(places / f"{secrets.token_hex(8)}.lease", timeouts, keys) as claim:
        claim.try_acquire()
        _wait(places / _PRUNING, timeouts)
        _clear(places, timeouts)
        yield


def _clear(places: Path, timeouts: ClaimTimeouts) -> None:
    """Removes the leases of processes that are known to be dead, such as killed ones."""
    for folder in places.glob("*.lease"):
        watch = Watch(folder, timeouts)
        if watch.owner_is_dead():
            break_claim(folder, watch.token)


@contextmanager
def sole_pruner(root: Path, timeouts: ClaimTimeouts) -> Iterator[Callable[[], bool]]:
    """Waits until no other process prunes; new leases wait until the block ends.

    Yields a function that returns whether this process is still the only pruner: false once another
    one has taken its claim for stale.
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
            _log.info("another process is pruning the cache; waiting")
            said = True
        time.sleep(timeouts.poll)
