"""Lets a training be cut off at any step: when a checkpoint is kept, how it is gone on from."""

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
    """What a training goes through: `steps` (None: as many as the epochs have) in `order`.

    Batches hold `batch_size` items of the order; dropout and the like are drawn from `seed`.
    """

    order: PairedOrder
    batch_size: int
    seed: int
    steps: int | None
    should_stop: ShouldStop


class Resumable(Callback):
    """Takes a training through its schedule so that it can be resumed with the same bits.

    A checkpoint is kept in `path` at the end of a step: when the last is over `every_seconds` old,
    and when a signal has come, which is then passed on to the handler from before. At the end of an
    epoch that is before the stop rule is asked, which may take long; it is asked again after a
    resume, so it may be cut off anywhere and must not change the weights. A checkpoint adds to
    Lightning's the place within the epoch and the state of torch's random numbers on every rank.
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
        """Adds what Lightning does not know."""
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
        """Takes it back; the random numbers' state is needed when training starts."""
        state = checkpoint[_STATE]
        self.epochs, self._batches = state["epochs"], state["batches"]
        self._asked, self.reason = state["asked"], state["reason"]
        self._random = state["random"][rank()]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the signals from Lightning, which ends with status 0 on them, and goes on."""
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
        """Seeds dropout and the like, which no two ranks draw alike."""
        torch.manual_seed((self._schedule.seed << 20) + (rank() << 16) + trainer.current_epoch)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Keeps a checkpoint if one is due; of the last step, only once the epoch is over."""
        self._batches = batch_idx + 1
        done = trainer.global_step == self._schedule.steps
        trainer.should_stop = trainer.should_stop or done
        whole = self._batches % trainer.accumulate_grad_batches == 0
        if whole and not done and not trainer.is_last_batch:
            self._keep_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps a checkpoint if one is due, then decides whether this was the last epoch."""
        self.epochs, self._batches = trainer.current_epoch + 1, 0
        self._keep_if_due(trainer)
        self._ask(trainer)
        trainer.should_stop = trainer.should_stop or self.reason is not None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Passes on what came since the last step."""
        _, received = self._decide()
        if received:
            self._keep_if_due(trainer)

    def conclude(self) -> str:
        """Why the training ended; asks the stop rule if it was cut off at the last epoch's end."""
        if self._asked < self.epochs:
            self.reason = first_decides(self._schedule.should_stop(self.epochs))
            self._asked = self.epochs
        return self.reason or "end of the budget"

    def _ask(self, trainer: Trainer) -> None:
        """Asks the stop rule, unless it has said what it thinks of the latest epoch."""
        if self._asked == self.epochs:
            return
        if num_ranks() > 1:  # one process that is cut off would leave the others waiting
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
            _log.warning("the signal lets training go on")

    def _decide(self) -> tuple[bool, int]:
        """Whether the last checkpoint is old, and a signal that has come (0: none).

        The same in all processes of a training, as a signal may reach only some of them.
        """
        due = time.monotonic() - self._saved > self._every
        received = next(iter(self._signals.received), 0)
        together = of_all_ranks((due, received))
        return any(due for due, _ in together), max(received for _, received in together)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators that dropout draws from."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
