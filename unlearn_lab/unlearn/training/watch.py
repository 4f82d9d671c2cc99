"""Shows a training to others while it runs, without being part of it or of its key."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.ranks import num_ranks
from unlearn_lab.unlearn.training.step_log import StepLog


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


class StepWatch(Callback):
    """Passes on each step's metrics, with learning rate, epoch and speed.

    Speed is in tokens per second, padding and the time between epochs excluded.

    Args:
        watcher: receives the figures.
        log: has the metrics of the step.
        steps_per_epoch: steps in a pass over the first split.
    """

    def __init__(self, watcher: Watcher, log: StepLog, steps_per_epoch: int) -> None:
        self._watcher = watcher
        self._log = log
        self._steps_per_epoch = steps_per_epoch
        self._begun = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock anew: a stop rule may have scored the model."""
        self._begun = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Mapping[str, Tokens],
        batch_idx: int,
    ) -> None:
        """Passes on the step that has just been taken."""
        now = time.monotonic()
        tokens = sum(int(torch.count_nonzero(role.real)) for role in batch.values())
        step = trainer.global_step - 1
        self._watcher.step(
            step,
            {
                **self._log.latest,
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "epoch": (step + 1) / self._steps_per_epoch,
                "tokens_per_second": tokens * num_ranks() / max(now - self._begun, 1e-9),
            },
        )
        self._begun = now
