"""Defines watchers of a training, which receive its figures while it runs; none is in its key."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

from unlearn_lab.unlearn.training.curve import Point


@runtime_checkable
class Watcher(Protocol):
    """Receives the figures of a training, in the process of the first rank; raises nothing."""

    def begin(self) -> None:
        """Called before the first step, and again when an interrupted training resumes."""
        ...

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Called after each step; a resume repeats the steps since its checkpoint."""
        ...

    def scores(self, point: Point) -> None:
        """Called with the scores after an epoch, and before `begin` with those of the target."""
        ...

    def end(self, *, complete: bool) -> None:
        """Called when the training has ended, or was interrupted or failed."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher | None) -> Iterator[None]:
    """Passes the figures of trainings in this context to `watcher`; to none if it is None."""
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


def current_watcher() -> Watcher | None:
    """Returns the watcher of trainings in this context; None without one."""
    return _watcher.get()
