"""The LightningModule of every training: any objective, optimizer and schedule."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unlearn_lab.data.batch import Batch, Tokens
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.unlearn.gradients import summed_gradients, with_gradients
from unlearn_lab.unlearn.objectives.forward import ModelForward, Reference
from unlearn_lab.unlearn.objectives.objective import LossTerms, Objective
from unlearn_lab.unlearn.optimizers.selected import SelectedOptimizer
from unlearn_lab.unlearn.ranks import averaged, parts
from unlearn_lab.unlearn.training.strategy import shard, whole

Schedule = Callable[[int], float]


class Diverged(ValueError):
    """A loss or gradient is NaN or infinite; the message gives term, step and last good values."""


class UnlearnModule(LightningModule):
    """Minimises an objective.

    Logs per step: every loss term, the total, the norm of the optimizer's gradients before clipping
    and the token accuracy of each role. `terms` contains the loss terms of the latest batch.

    Args:
        model: the model to train.
        objective: the loss.
        reference: outputs of the target; None if the objective needs none.
        optimizer: builds the optimizer, once the weights are on their devices.
        schedule: factor on the learning rate by step; None for a constant rate.
        callbacks: callbacks of the update rule.
        micro_batch: maximum number of sequences of each role in one pass; None for whole batches.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        reference: Reference | None,
        optimizer: Callable[[], Optimizer],
        schedule: Schedule | None,
        callbacks: Sequence[Callback] = (),
        micro_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._objective = objective
        self._reference = reference
        self._optimizer = optimizer
        self._schedule = schedule
        self._callbacks = callbacks
        self._micro_batch = micro_batch
        self._last_good: dict[str, float] = {}
        self.terms: LossTerms | None = None

    def training_step(self, batch: Mapping[str, Tokens], batch_index: int) -> Tensor:
        """Returns the objective's total on one batch; raises `Diverged` for NaN or infinity.

        With micro-batches, the backward pass of the total yields gradients that were summed over
        the parts of the batch, and `terms` is None.
        """
        pieces = parts(batch, self._micro_batch)
        if len(pieces) == 1:
            self.terms, losses, accuracies = self._forward(pieces[0])
            total = self.terms.total
        else:
            self.terms = None
            total, losses, accuracies = self._by_parts(pieces)
        figures = averaged(losses | accuracies)
        values = {name: figures[name] for name in losses}
        self._require_finite(values)
        self._last_good = values
        self.log("loss", values["loss"], prog_bar=True, logger=False)
        self._send(figures)
        return total

    def _forward(self, batch: Batch) -> tuple[LossTerms, dict[str, float], dict[str, float]]:
        """Returns the terms of a batch or part, their values, and its share of accuracies."""
        forward = ModelForward(self.model, self._reference)
        terms = self._objective(forward, batch)
        losses = {f"loss_{name}": term.item() for name, term in terms.parts.items()} | {
            "loss": terms.total.item()
        }
        return terms, losses, forward.accuracies(batch)

    def _by_parts(
        self, pieces: Sequence[Batch]
    ) -> tuple[Tensor, dict[str, float], dict[str, float]]:
        """As `_forward`, summed over the parts of a batch, with gradients in the total only."""
        losses: dict[str, float] = {}
        accuracies: dict[str, float] = {}
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}

        def total_of_each() -> Iterator[Tensor]:
            for part in pieces:
                terms, values, shares = self._forward(part)
                for totals, new in ((losses, values), (accuracies, shares)):
                    totals |= {name: totals.get(name, 0.0) + new[name] for name in new}
                yield terms.total

        sums, _ = summed_gradients(parameters, total_of_each())
        value = torch.tensor(losses["loss"], dtype=torch.float64, device=self.model.device)
        gradients = {parameter: sums[name] for name, parameter in parameters.items()}
        return with_gradients(value, gradients), losses, accuracies

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Logs the norm of the optimizer's gradients before clipping; raises `Diverged`."""
        if isinstance(optimizer, SelectedOptimizer):
            optimizer.gather()
        optimized = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in optimized if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)).item()
        self._require_finite({"gradient_norm": norm})
        self._send({"gradient_norm": norm})

    def configure_model(self) -> None:
        """Shards the weights under FSDP, whose Lightning strategy leaves that to the module."""
        strategy = self.trainer.strategy
        if isinstance(strategy, ModelParallelStrategy):
            shard(self, self.model, strategy.device_mesh["data_parallel"])

    def configure_callbacks(self) -> Sequence[Callback]:
        """Returns the callbacks of the update rule."""
        return self._callbacks

    def configure_optimizers(self) -> Optimizer | OptimizerLRSchedulerConfig:
        """Returns the optimizer, with the schedule applied every step."""
        optimizer = self._optimizer()
        if self._schedule is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self._schedule), "interval": "step"},
        }

    def _send(self, values: Mapping[str, float]) -> None:
        if self.logger is not None:
            self.logger.log_metrics(dict(values), step=self.global_step)

    def _require_finite(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                good = (
                    ", ".join(f"{key}={number:.4g}" for key, number in self._last_good.items())
                    or "none"
                )
                todo = (
                    "Lower the learning rate (optimizer.lr), or raise the retain weight"
                    if self._last_good
                    else "Nothing was trained yet: the model it started from is not finite"
                )
                raise Diverged(
                    f"{name} became {value} at step {self.global_step}; last good values: {good}. "
                    f"{todo}"
                )


def cosine_with_warmup(num_steps: int, warmup_steps: int, floor: float) -> Schedule:
    """Returns the learning-rate factor by step: linear warm-up times a half cosine.

    Deviates from transformers' schedule: the cosine starts at step 0, not after the warm-up.

    Args:
        num_steps: steps until the cosine has fallen from 1 to `floor`.
        warmup_steps: steps of the warm-up.
        floor: the final factor.
    """

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, warmup_steps))
        return warm * (
            floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))
        )

    return factor
