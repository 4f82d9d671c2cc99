"""Protocol of update rules (option `optimizer`), which turn gradients into weight changes."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from unlearn_lab.config.build import Part as BuiltPart
from unlearn_lab.config.build import Refused, assemble, assemble_partial
from unlearn_lab.data.typed import Callback, PreTrainedModel
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.optimizers.selected import OptimizerFactory, Part, SelectedOptimizer
from unlearn_lab.unlearn.optimizers.units import layout


@dataclass(frozen=True, kw_only=True)
class Training:
    """The training that a rule is prepared for.

    Attributes:
        model: the model to train.
        parameters: the trained parameters, by their names in the checkpoint.
        scores: the units' saliencies by parameter; None without the saliency stage.
        forget_losses: yields the losses of the first n forget batches (None: all), at the current
            weights.
        rounding_seed: seed of the stochastic rounding to bfloat16; None without it.
        work: the artifact's folder.
    """

    model: PreTrainedModel
    parameters: Mapping[str, Parameter]
    scores: Mapping[str, Tensor] | None
    forget_losses: Callable[[int | None], Iterator[Tensor]]
    rounding_seed: int | None
    work: Path


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A rule that is ready for one training.

    Attributes:
        make: builds the optimizer; called once the weights are on their devices.
        callbacks: Lightning callbacks of the rule.
        facts: entries for the record, read after the training.
    """

    make: Callable[[], Optimizer]
    callbacks: Sequence[Callback]
    facts: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class UpdateContext:
    """What a rule can be checked against before anything runs.

    Attributes:
        model: the model's skeleton: shapes, no weights.
        parameters: the parameters to train, by their names in the checkpoint.
        num_batches: forget batches in an epoch.
        rounding: the setting `trainer.rounding`.
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
        """The learning rate, which also decides which bfloat16 weights can move at all."""
        ...

    def require_fit(self, context: UpdateContext) -> None:
        """Raises `ValueError` if the rule cannot be applied to this model or training."""
        ...

    def prepare(self, training: Training) -> Prepared:
        """Prepares the rule for one training."""
        ...


@dataclass(frozen=True, kw_only=True)
class FullUpdate:
    """A torch optimizer over all trained parameters."""

    lr: float
    make: OptimizerFactory

    def require_fit(self, context: UpdateContext) -> None:
        """Accepts every context."""

    def prepare(self, training: Training) -> Prepared:
        """Returns the optimizer, wrapped for stochastic rounding if there is a seed for it."""
        parameters = training.parameters

        def make() -> Optimizer:
            if training.rounding_seed is None:
                # FSDP may have replaced them since
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


@contextmanager
def _without_dynamo() -> Iterator[None]:
    """Builds optimizers without torch's compiler, whose import takes as long as that of torch.

    `torch._compile._disable_dynamo` imports it unless the wrapped function has this attribute.
    """
    plain: Any = inspect.unwrap(Optimizer.add_param_group)
    name = "__dynamo_disable"
    if hasattr(plain, name):
        yield
        return
    setattr(plain, name, plain)
    try:
        yield
    finally:
        delattr(plain, name)


def update_rule(node: Mapping[str, Any]) -> UpdateRule:
    """Builds the rule of the configuration node `optimizer`; raises as `update_part` does."""
    return update_part(node).value


def update_part(node: Mapping[str, Any]) -> BuiltPart[UpdateRule]:
    """Builds the rule of the configuration node `optimizer`, with its node.

    A class of `torch.optim` becomes a `FullUpdate`. Raises `Refused` for unknown or mistyped
    options, values that the optimizer rejects, and a learning rate that is not positive.
    """
    if not str(node.get("_target_", "")).startswith("torch.optim."):
        return assemble(node, UpdateRule, "optimizer")
    made = assemble_partial(node, "optimizer", given=("params",))
    rate = node.get("lr")
    if not isinstance(rate, int | float) or not rate > 0:
        raise Refused(f"optimizer.lr={rate}: must be above 0")
    try:
        with _without_dynamo():
            made.value([Parameter(torch.zeros(1))])
    except ValueError as error:
        raise Refused(f"optimizer: {error}") from error
    rule = FullUpdate(lr=float(rate), make=made.value)
    return BuiltPart(value=rule, node=node, path="optimizer", module=made.module, inner=made.inner)
