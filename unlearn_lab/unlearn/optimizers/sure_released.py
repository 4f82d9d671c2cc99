"""SURE as its authors released it: what actually ran, and what the code was meant to run."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from unlearn_lab.unlearn.optimizers.sure import inner_optimizer, require_percentile
from unlearn_lab.unlearn.optimizers.update import Prepared, Training, UpdateContext
from unlearn_lab.unlearn.optimizers.wrapped import WrappedOptimizer


@dataclass(frozen=True, kw_only=True)
class SUREReleased:
    """SURE as in github.com/zzwjames/FailureLLMUnlearning, to reproduce its published numbers.

    Deviations from the paper (see `sure.SURE`):

    - the mask is recomputed every step, from the forget gradient of that step's batch;
    - the forget gradient counts twice: the backward pass for the mask adds to the step's own;
    - gradients are zeroed before that pass, so accumulation over batches has no effect;
    - the mask multiplies the gradient after clipping: weight decay and momentum still move masked
      rows;
    - the masking is in a method that the trainer never calls. `masked=false` is what actually ran:
      plain `inner` at a large `lr` with a doubled forget gradient. `masked=true` is the masking as
      written.

    Units are rows of all trained parameters; every entry of a vector is a unit.

    Attributes:
        lr: learning rate of the inner optimizer.
        inner: class of `torch.optim` with its options, without `lr`.
        percentile: at least 0 and below 100; used only with `masked`.
        masked: whether the mask is applied.
    """

    lr: float
    inner: Callable[..., Optimizer]
    percentile: float
    masked: bool

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr}: must be above 0")
        require_percentile(self.percentile)
        inner_optimizer(self.inner, self.lr)

    def require_fit(self, context: UpdateContext) -> None:
        """Raises `ValueError` for stochastic rounding, which the released code lacks."""
        if context.rounding != "nearest":
            raise ValueError(
                f"the released form of SURE supports trainer.rounding=nearest only, not "
                f"{context.rounding}"
            )

    def prepare(self, training: Training) -> Prepared:
        """Returns the optimizer's factory, and the callback that adds the forget gradient."""
        make = inner_optimizer(self.inner, self.lr)
        from unlearn_lab.unlearn.optimizers.forget_first import ForgetFirst

        extra = ForgetFirst(self, training.parameters)

        def build() -> Optimizer:
            if not self.masked:
                return make(list(training.parameters.values()))
            return _GradientMasked(list(training.parameters.values()), make, extra.mask)

        return Prepared(make=build, callbacks=(extra,), facts={})


class _GradientMasked(WrappedOptimizer):
    """Multiplies gradients by a mask, after clipping and before the inner optimizer's step."""

    def __init__(
        self,
        parameters: list[Parameter],
        make: Callable[[Iterable[Parameter]], Optimizer],
        mask: Callable[[int, Tensor], Tensor],
    ) -> None:
        self._parameters = parameters
        self._mask = mask
        super().__init__(make(parameters))

    def step_inner(self, inner: Optimizer) -> None:
        """Takes one step of the inner optimizer with masked gradients."""
        for place, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                parameter.grad.mul_(self._mask(place, parameter.grad))
        inner.step()
