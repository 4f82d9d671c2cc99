"""The callback of SURE as released: a backward pass of the forget loss before each step's own."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import Parameter

from unlearn_lab.unlearn.optimizers.saliency import percentile_of
from unlearn_lab.unlearn.optimizers.units import layout
from unlearn_lab.unlearn.ranks import average_gradients
from unlearn_lab.unlearn.training.module import UnlearnModule

if TYPE_CHECKING:
    from unlearn_lab.unlearn.optimizers.sure_released import SUREReleased


class ForgetFirst(Callback):
    """Runs a separate backward pass of the forget loss and derives the mask from it."""

    def __init__(self, rule: "SUREReleased", parameters: Mapping[str, Parameter]) -> None:
        self._rule = rule
        self._parameters = parameters
        self._layouts = {
            name: layout(name, tuple(parameter.shape), "row", None)
            for name, parameter in parameters.items()
        }
        self._norms: dict[str, Tensor] = {}
        self._gamma = math.inf

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Computes the forget gradient and keeps it, so that the step's own is added to it."""
        if not isinstance(pl_module, UnlearnModule) or pl_module.terms is None:
            raise TypeError("the released form of SURE needs the terms of an UnlearnModule")
        pl_module.zero_grad()
        pl_module.terms.parts["forget"].backward(retain_graph=True)
        if self._rule.masked:
            self._norms = {
                name: self._layouts[name].norms(parameter.grad)
                for name, parameter in self._parameters.items()
                if parameter.grad is not None
            }
            self._gamma = percentile_of(self._norms.values(), self._rule.percentile)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Averages gradients over ranks: DDP does so only in the first backward pass of a step.

        That was the forget loss's. Its mean is equal on all ranks, so averaging leaves it unchanged
        while it averages the step's own gradient, which each rank has added to it.
        """
        average_gradients(self._parameters)

    def mask(self, place: int, gradient: Tensor) -> Tensor:
        """Returns the current mask of parameter number `place`, broadcastable to its gradient."""
        kept = self._norms[list(self._parameters)[place]] >= self._gamma
        return kept.to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1))
