"""Lets what watches and scores a training act in the process that runs it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from unlearn_lab.report.wandb.live import watcher_of
from unlearn_lab.report.wandb.training_run import TrainingRun
from unlearn_lab.unlearn.training.watcher import watched


@contextmanager
def observed(run: TrainingRun | None, scores: Mapping[str, Any] | None) -> Iterator[None]:
    """Sends trainings in this context to W&B, and scores their models.

    Args:
        run: the training's run; None: nothing is sent.
        scores: settings of `EpochScores`; None: the model is not scored.
    """
    from unlearn_lab.evaluate.epoch_scores import EpochScores
    from unlearn_lab.unlearn.training.scoring import scored_by

    scoring = None if scores is None else EpochScores(**scores)
    with watched(None if run is None else watcher_of(run)), scored_by(scoring):
        yield
