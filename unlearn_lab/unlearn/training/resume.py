"""Makes a training resumable at any step: when to checkpoint, and what a resume restores."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from unlearn_lab.data.batch import PairedOrder
from unlearn_lab.unlearn.ranks import first_decides, is_first, num_ranks, of_all_ranks, rank
from unlearn_lab.unlearn.training.preempt import Preempted, Signals
from unlearn_lab.unlearn.training.stop import ShouldStop

_STATE = "unlearn_lab"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingSchedule:
    """What a training iterates over, and when it ends.

    Attributes:
        order: the order of the items.
        batch_size: items in a batch of all ranks.
        seed: seed of dropout and other random layers.
        steps: optimizer steps; None for all steps of the epochs.
        should_stop: the stop rule, called after each epoch.
    """

    order: PairedOrder
    batch_size: int
    seed: int
    steps: int | None
    should_stop: ShouldStop


class Resumable(Callback):
    """Applies a schedule so that a resumed training is bit-identical to an uninterrupted one.

    A checkpoint is written at the end of a step if the last one is older than `every_seconds`, or
    if a signal has arrived, which is then passed on to the previous handler. At the end of an epoch
    this precedes the stop rule, which may take long: it is evaluated again after a resume, so it
    may be interrupted anywhere and must not change the weights. In addition to Lightning's state, a
    checkpoint contains the position in the epoch and torch's RNG states of every rank.

    Args:
        schedule: what to iterate over, and when to end.
        path: file of the checkpoint.
        every_seconds: interval of the checkpoints.
        signals: the deferred signals.
    """

    def __init__(
        self, schedule: TrainingSchedule, path: Path, *, every_seconds: float, signals: Signals
    ) -> None:
        self._schedule = schedule
        self._path = path
        self._every = every_seconds
        self._signals = signals
        self._saved = time.monotonic()
        self._random: dict[str, Tensor] | None = None
        self._batches = 0
        self._asked = 0
        self.epochs = 0
        self.reason: str | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the position, the stop rule's outcome and the RNG states of all ranks."""
        checkpoint[_STATE] = {
            "epochs": self.epochs,
            "batches": self._batches,
            "asked": self._asked,
            "reason": self.reason,
            "random": of_all_ranks(_random_state(trainer.strategy.root_device)),
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores position and outcome; `on_train_start` restores the RNG state."""
        state = checkpoint[_STATE]
        self.epochs, self._batches = state["epochs"], state["batches"]
        self._asked, self.reason = state["asked"], state["reason"]
        self._random = state["random"][rank()]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replaces Lightning's signal handlers, which exit with status 0, and applies a resume."""
        self._signals.hold()
        trainer._signal_connector.received_sigterm = False
        if self._random is None:
            return
        _log.info("resumed after step %d, in epoch %d", trainer.global_step, self.epochs + 1)
        self._schedule.order.skip(self._batches * self._schedule.batch_size)
        _set_random_state(self._random, trainer.strategy.root_device)
        self._ask(trainer)
        trainer.should_stop = self.reason is not None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds dropout and other random layers, differently on every rank and in every epoch."""
        torch.manual_seed((self._schedule.seed << 20) + (rank() << 16) + trainer.current_epoch)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Writes a checkpoint if due; an epoch's last step leaves that to `on_train_epoch_end`."""
        self._batches = batch_idx + 1
        done = trainer.global_step == self._schedule.steps
        trainer.should_stop = trainer.should_stop or done
        whole = self._batches % trainer.accumulate_grad_batches == 0
        if whole and not done and not trainer.is_last_batch:
            self._keep_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a checkpoint if one is due, then evaluates the stop rule."""
        self.epochs, self._batches = trainer.current_epoch + 1, 0
        self._keep_if_due(trainer)
        self._ask(trainer)
        trainer.should_stop = trainer.should_stop or self.reason is not None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes a checkpoint and passes a signal on if one arrived since the last step."""
        _, received = self._decide()
        if received:
            self._keep_if_due(trainer)

    def conclude(self) -> str:
        """Returns why training ended; evaluates the stop rule if the last epoch's is pending."""
        if self._asked < self.epochs:
            self.reason = first_decides(self._schedule.should_stop(self.epochs))
            self._asked = self.epochs
        return self.reason or "end of the budget"

    def _ask(self, trainer: Trainer) -> None:
        """Evaluates the stop rule, unless that was done for the latest epoch."""
        if self._asked == self.epochs:
            return
        if num_ranks() > 1:  # interrupting one rank would leave the others waiting
            self.conclude()
            return
        try:
            with self._signals.at_once():
                self.conclude()
        except Preempted:
            self._keep_if_due(trainer)
            self._ask(trainer)

    def _keep_if_due(self, trainer: Trainer) -> None:
        due, received = self._decide()
        if not due and not received:
            return
        fresh = self._path.with_suffix(".new")
        trainer.save_checkpoint(fresh)
        if is_first():
            fresh.rename(self._path)
        self._saved = time.monotonic()
        if received:
            step = trainer.global_step
            _log.warning("preempted: checkpoint at step %d kept in %s", step, self._path.parent)
            self._signals.pass_on(received)
            _log.warning("training continues after the signal")

    def _decide(self) -> tuple[bool, int]:
        """Returns whether a checkpoint is due, and a pending signal (0: none).

        All ranks return the same, because a signal may reach only some of them.
        """
        due = time.monotonic() - self._saved > self._every
        received = next(iter(self._signals.received), 0)
        together = of_all_ranks((due, received))
        return any(due for due, _ in together), max(received for _, received in together)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """Returns the RNG states of torch that dropout draws from."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
