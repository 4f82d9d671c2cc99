"""What an optimizer option is: a rule that turns gradients into changes of the weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import PreTrainedModel

from unlearn_lab.config.build import Part as BuiltPart
from unlearn_lab.config.build import Refused, assemble, assemble_partial
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.optimizers.selected import OptimizerFactory, Part, SelectedOptimizer
from unlearn_lab.unlearn.optimizers.units import layout


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a rule is set up for.

    `parameters` are those that are trained, by their names in the checkpoint; `scores` the units'
    saliencies where the plan has that stage; `forget_losses` goes over so many forget batches
    (None: all) once more, at the present weights; `rounding_seed` is given where bfloat16 weights
    are rounded stochastically; `work` is the artifact's folder.
    """

    model: PreTrainedModel
    parameters: Mapping[str, Parameter]
    scores: Mapping[str, Tensor] | None
    forget_losses: Callable[[int | None], Iterator[Tensor]]
    rounding_seed: int | None
    work: Path


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The optimizer, made when the weights lie where they are trained, and what goes with it."""

    make: Callable[[], Optimizer]
    callbacks: Sequence[Callback]
    facts: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class UpdateContext:
    """What is known before anything runs: the model's shapes (no weights) and the training.

    `parameters` are those that would be trained, by their names in the checkpoint; `num_batches`
    counts the forget batches of an epoch; `rounding` is `trainer.rounding`.
    """

    model: PreTrainedModel
    parameters: Mapping[str, Parameter]
    num_batches: int
    rounding: str


@runtime_checkable
class UpdateRule(Protocol):
    """Turns gradients into changes of the weights."""

    @property
    def lr(self) -> float:
        """The learning rate, which also says which bfloat16 weights can move at all."""
        ...

    def require_fit(self, context: UpdateContext) -> None:
        """Raises `ValueError` when the rule cannot do what is asked."""
        ...

    def prepare(self, training: Training) -> Prepared:
        """Sets the rule up for one training."""
        ...


@dataclass(frozen=True, kw_only=True)
class FullUpdate:
    """A torch optimizer over all trained parameters."""

    lr: float
    make: OptimizerFactory

    def require_fit(self, context: UpdateContext) -> None:
        """Everything can be done."""

    def prepare(self, training: Training) -> Prepared:
        """The optimizer itself, or in front of it the stochastic rounding."""
        parameters = training.parameters

        def make() -> Optimizer:
            if training.rounding_seed is None:
                # sharding has put others in their place since
                return self.make(list(trained_parameters(training.model).values()))
            parts = {
                name: Part(
                    parameter=parameter,
                    layout=layout(name, tuple(parameter.shape), "matrix", None),
                    units=None,
                )
                for name, parameter in parameters.items()
            }
            return SelectedOptimizer(parts, self.make, rounding_seed=training.rounding_seed)

        return Prepared(make=make, callbacks=(), facts={})


def update_rule(node: Mapping[str, Any]) -> UpdateRule:
    """The rule that the configuration node `optimizer` describes; raises as `update_part` does."""
    return update_part(node).value


def update_part(node: Mapping[str, Any]) -> BuiltPart[UpdateRule]:
    """The rule that the configuration node `optimizer` describes, with its node.

    Raises `Refused` for unknown or mistyped options and a learning rate that is not positive.
    """
    if not str(node.get("_target_", "")).startswith("torch.optim."):
        return assemble(node, UpdateRule, "optimizer")
    made = assemble_partial(node, "optimizer", given=("params",))
    rate = node.get("lr")
    if not isinstance(rate, int | float) or not rate > 0:
        raise Refused(f"optimizer.lr={rate}: must be above 0")
    try:
        made.value([Parameter(torch.zeros(1))])
    except ValueError as error:
        raise Refused(f"optimizer: {error}") from error
    rule = FullUpdate(lr=float(rate), make=made.value)
    return BuiltPart(value=rule, node=node, path="optimizer", module=made.module, inner=made.inner)
