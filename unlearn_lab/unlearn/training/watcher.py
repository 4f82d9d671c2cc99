"""Lets others watch a training while it runs, without being part of it or of its key."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable


@runtime_checkable
class Watcher(Protocol):
    """Receives the figures of a training, in the process of the first rank; raises nothing."""

    def begin(self) -> None:
        """Called before the first step, and again when an interrupted training resumes."""
        ...

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Called after each step; a resume repeats the steps since its checkpoint."""
        ...

    def end(self, *, complete: bool) -> None:
        """Called when the training has ended, or was interrupted or failed."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher | None) -> Iterator[None]:
    """Has trainings in this context watched; by nobody if `watcher` is None."""
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


def current_watcher() -> Watcher | None:
    """Returns who watches trainings in this context."""
    return _watcher.get()
