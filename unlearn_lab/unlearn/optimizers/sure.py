"""SURE: trains only the units with the largest forget gradients, at a large learning rate."""

import functools
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from unlearn_lab.unlearn.optimizers.mask import summary, write_mask
from unlearn_lab.unlearn.optimizers.saliency import choose
from unlearn_lab.unlearn.optimizers.selected import SelectedOptimizer, parts_of
from unlearn_lab.unlearn.optimizers.units import Granularity, compiled, layouts_of
from unlearn_lab.unlearn.optimizers.update import Prepared, Training, UpdateContext


@dataclass(frozen=True, kw_only=True)
class SURE:
    """Saliency-based unlearning with a large learning rate (Zhang et al., 2410.16454, Eq. 4-6).

    The saliency of unit i of the weights is s_i = ||g_i||_2, where g is the gradient of the forget
    loss at the target, over the forget set. With gamma the `percentile` of all s_i, the mask is
    m_i = 1[s_i >= gamma]. The `inner` torch optimizer minimises the full objective with learning
    rate `lr` on the chosen units alone: every other weight stays bit-identical, whatever the inner
    optimizer does.

    Refreshing the mask (`refresh_steps`) goes beyond the paper. A weight can then move as soon as
    its unit is chosen, and the mask that is saved is the union of all masks.

    The released code masks gradients, with a new mask every step, in a hook that its trainer never
    calls: see `sure_released.SUREReleased`.

    Attributes:
        lr: learning rate of the inner optimizer.
        inner: class of `torch.optim` with its options, without `lr`.
        percentile: at least 0 and below 100; 90 keeps the most salient tenth of the units.
        granularity: what a unit is (see `units.layout`).
        modules: regular expression searched for in names of trained parameters; None takes all.
        batches: number of forget batches of the first epoch for the mask; None for all.
        refresh_steps: steps between new masks at the current weights, each of which restarts the
            inner optimizer; None for a single mask.
    """

    lr: float
    inner: Callable[..., Optimizer]
    percentile: float
    granularity: Granularity
    modules: str | None
    batches: int | None
    refresh_steps: int | None

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr}: must be above 0")
        require_percentile(self.percentile)
        for name in ("batches", "refresh_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: must be at least 1, or null")
        compiled(self.modules)
        inner_optimizer(self.inner, self.lr)

    @property
    def saliency(self) -> dict[str, object]:
        """Settings that the scores depend on; the percentile is applied to the scores later."""
        return {name: getattr(self, name) for name in ("granularity", "modules", "batches")}

    def require_fit(self, context: UpdateContext) -> None:
        """Raises `ValueError` if the modules, heads or batches do not exist."""
        layouts_of(context.model, context.parameters, self.granularity, self.modules)
        if self.batches is not None and self.batches > context.num_batches:
            raise ValueError(
                f"batches={self.batches}: an epoch has {context.num_batches} forget batches; "
                "choose at most that, or null for all"
            )

    def prepare(self, training: Training) -> Prepared:
        """Writes the mask, freezes parameters that cannot move, returns the optimizer's factory.

        With `refresh_steps` also returns the callback that refreshes the mask. Raises `ValueError`
        without scores.
        """
        if training.scores is None:
            raise ValueError("SURE needs the scores of the saliency stage, which are missing")
        layouts = layouts_of(training.model, training.parameters, self.granularity, self.modules)
        mask, gamma = choose(training.scores, self.percentile)
        make = inner_optimizer(self.inner, self.lr)
        if self.refresh_steps is None:
            write_mask(training.work, mask)
            parts = parts_of(training.parameters, layouts, mask)
            _freeze_all_but(parts, training.parameters)
            callbacks, facts = (), {"mask": summary(mask, layouts, gamma)}
        else:
            from unlearn_lab.unlearn.optimizers.renewal import Renewal

            renewal = Renewal(self, training, layouts, mask, gamma)
            parts = parts_of(training.parameters, layouts, mask, empty=True)
            _freeze_all_but(layouts, training.parameters)
            callbacks, facts = (renewal,), renewal.facts
        return Prepared(
            make=lambda: SelectedOptimizer(parts, make, rounding_seed=training.rounding_seed),
            callbacks=callbacks,
            facts=facts,
        )


def inner_optimizer(inner: Callable[..., Optimizer], lr: float) -> Callable[..., Optimizer]:
    """Returns the factory of the inner optimizer at the rule's learning rate.

    Raises `ValueError` if it is not a torch optimizer, has an `lr` already, or cannot take a step
    without a closure.
    """
    given, target = getattr(inner, "keywords", {}), getattr(inner, "func", inner)
    is_optimizer = isinstance(target, type) and issubclass(target, Optimizer)
    if not is_optimizer:
        raise ValueError(f"inner._target_={target}: must be an optimizer of torch.optim")
    if "lr" in given:
        raise ValueError(f"inner.lr={given['lr']}: set optimizer.lr instead")
    made = functools.partial(inner, lr=lr)
    probe = Parameter(torch.zeros(2, 2))
    probe.grad = torch.ones(2, 2)
    try:
        made([probe]).step()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"inner: {target.__name__} cannot be used: {error}") from error
    return made


def require_percentile(percentile: float) -> None:
    """Raises `ValueError` outside [0, 100): 100 would keep the single largest unit."""
    if not 0 <= percentile < 100:
        raise ValueError(
            f"percentile={percentile}: must be at least 0 (keep all) and below 100; 90 keeps the "
            "most salient tenth"
        )


def _freeze_all_but(trained: Container[str], parameters: Mapping[str, Parameter]) -> None:
    """Freezes all other parameters, so that the backward pass skips their gradients."""
    for name, parameter in parameters.items():
        if name not in trained:
            parameter.requires_grad_(False)
