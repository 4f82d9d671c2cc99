"""Scores the model of a training after some of its epochs, which never changes the training."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from unlearn_lab.unlearn.ranks import first_decides, is_first
from unlearn_lab.unlearn.training.adapter import Injected
from unlearn_lab.unlearn.training.curve import FILE, Curve, Point, read_curve, write_curve
from unlearn_lab.unlearn.training.present import present_weights
from unlearn_lab.unlearn.training.stop import ShouldStop, StopContext
from unlearn_lab.unlearn.training.watcher import current_watcher


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The training whose model is scored.

    Attributes:
        context: the model, its tokenizer and the stage's inputs.
        adapters: what is trained in place of the weights; None if the weights are.
    """

    context: StopContext
    adapters: Injected | None

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the weights that would be saved now, by name."""
        return present_weights(self.context.model, self.adapters)


@runtime_checkable
class Scoring(Protocol):
    """Scores the model of a training after some epochs, and never changes the training."""

    @property
    def curve(self) -> Curve:
        """Returns a curve without points."""
        ...

    def is_due(self, epoch: int) -> bool:
        """Whether the model is scored after this epoch; 0 is before the first."""
        ...

    def point(self, training: Observed, epoch: int) -> Point:
        """Scores the model; called on all ranks."""
        ...


_scoring: ContextVar[Scoring | None] = ContextVar("scoring", default=None)


@contextmanager
def scored_by(scoring: Scoring | None) -> Iterator[None]:
    """Scores trainings in this context by `scoring`; not at all if it is None."""
    before = _scoring.set(scoring)
    try:
        yield
    finally:
        _scoring.reset(before)


def with_scores(training: Observed, should_stop: ShouldStop, work: Path) -> ShouldStop:
    """Scores the model now, and returns a stop rule that scores it before it decides.

    Without a scoring in this context, returns the rule itself. Each point is written to `work` and
    passed to the watcher. An epoch that was scored before a resume is not scored again.

    Args:
        training: the training, before its first step.
        should_stop: the stop rule.
        work: folder of the training.
    """
    scoring = _scoring.get()
    if scoring is None:
        if is_first():
            (work / FILE).unlink(missing_ok=True)  # of an attempt that was scored
        return should_stop
    recorder = _Recorder(scoring, training, work)
    recorder.begin()

    def scored_first(epoch: int) -> str | None:
        recorder.score(epoch)
        return should_stop(epoch)

    return scored_first


class _Recorder:
    """Adds the scores of a training to its curve, and shows them to the watcher."""

    def __init__(self, scoring: Scoring, training: Observed, work: Path) -> None:
        self._scoring = scoring
        self._training = training
        self._work = work
        self._show = current_watcher() if is_first() else None

    def begin(self) -> None:
        """Shows the points of an interrupted attempt, and scores the model if there are none."""
        for point in self._curve().points:
            self._to_watcher(point)
        self.score(0)

    def score(self, epoch: int) -> None:
        """Scores the model after an epoch, if that is due and was not done."""
        if not self._scoring.is_due(epoch):
            return
        curve = self._curve()
        if first_decides(epoch in {point.epoch for point in curve.points}):
            return
        point = self._scoring.point(self._training, epoch)
        if is_first():
            write_curve(self._work, dataclasses.replace(curve, points=(*curve.points, point)))
        self._to_watcher(point)

    def _curve(self) -> Curve:
        """Returns the curve so far; an empty one if it was recorded with other settings."""
        empty, known = self._scoring.curve, read_curve(self._work)
        return empty if known is None or known.settings != empty.settings else known

    def _to_watcher(self, point: Point) -> None:
        if self._show is not None:
            self._show.scores(point)
