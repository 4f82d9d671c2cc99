"""SURE: trains only the units with the largest forget gradients, at a large learning rate."""

import functools
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from unlearn_lab.unlearn.optimizers.mask import kept_units, read_mask, summary, write_mask
from unlearn_lab.unlearn.optimizers.saliency import choose, mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.selected import Part, SelectedOptimizer
from unlearn_lab.unlearn.optimizers.units import Granularity, Layout, compiled, layouts_of
from unlearn_lab.unlearn.optimizers.update import Prepared, Training, UpdateContext
from unlearn_lab.unlearn.ranks import as_on_first, wait


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
            parts = _parts(training.parameters, layouts, mask)
            _freeze_all_but(parts, training.parameters)
            callbacks, facts = (), {"mask": summary(mask, layouts, gamma)}
        else:
            renewal = _Renewal(self, training, layouts, mask, gamma)
            parts = _parts(training.parameters, layouts, mask, empty=True)
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


class _Renewal(Callback):
    """Computes a new mask every `refresh_steps` steps; saves the union of all masks."""

    def __init__(
        self,
        rule: SURE,
        training: Training,
        layouts: Mapping[str, Layout],
        first: Mapping[str, Tensor],
        gamma: float,
    ) -> None:
        self._rule = rule
        self._training = training
        self._layouts = layouts
        self._step = 0
        self._union = read_mask(training.work) or dict(first)  # the file exists after a resume
        wait()  # all ranks have read the file that rank 0 overwrites next
        self.facts: dict[str, object] = {}
        self._tell(gamma)

    def state_dict(self) -> dict[str, Any]:
        """Returns the latest mask's threshold; the union of masks is a file of its own."""
        return {"gamma": self._gamma}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the threshold in the facts."""
        self._tell(state_dict["gamma"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Ranks the units at the current weights if a refresh is due before this step."""
        every, step = self._rule.refresh_steps, trainer.global_step
        if every is None or step == self._step or step % every:
            return
        self._step = step
        optimizer = trainer.optimizers[0]
        if not isinstance(optimizer, SelectedOptimizer):
            raise TypeError(f"SURE's optimizer was replaced by {type(optimizer).__name__}")
        mask, gamma = self._rank()
        optimizer.choose(_parts(self._training.parameters, self._layouts, mask, empty=True))
        self._union = {name: kept | mask[name] for name, kept in self._union.items()}
        self._tell(gamma)

    def _rank(self) -> tuple[Mapping[str, Tensor], float]:
        taking_part = {name: self._training.parameters[name] for name in self._layouts}
        self._training.model.eval()
        gradient = mean_gradient(taking_part, self._training.forget_losses(self._rule.batches))
        self._training.model.train()
        scores = as_on_first(unit_scores(gradient, self._layouts))
        return choose(scores, self._rule.percentile)

    def _tell(self, gamma: float) -> None:
        self._gamma = gamma
        write_mask(self._training.work, self._union)
        self.facts["mask"] = summary(self._union, self._layouts, gamma)


def _parts(
    parameters: Mapping[str, Parameter],
    layouts: Mapping[str, Layout],
    mask: Mapping[str, Tensor],
    *,
    empty: bool = False,
) -> dict[str, Part]:
    """Returns the chosen units by parameter; with `empty` also parameters without any."""
    return {
        name: Part(
            parameter=parameters[name],
            layout=layouts[name],
            units=kept_units(kept, parameters[name].device),
        )
        for name, kept in mask.items()
        if empty or bool(kept.any())
    }


def _freeze_all_but(trained: Container[str], parameters: Mapping[str, Parameter]) -> None:
    """Freezes all other parameters, so that the backward pass skips their gradients."""
    for name, parameter in parameters.items():
        if name not in trained:
            parameter.requires_grad_(False)
