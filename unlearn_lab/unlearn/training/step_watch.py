"""Passes the figures of each training step to a watcher: the callback that Lightning calls."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.ranks import num_ranks
from unlearn_lab.unlearn.training.step_log import StepLog
from unlearn_lab.unlearn.training.watcher import Watcher


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
