"""SURE: a large learning rate for the few units of the weights that the forget loss pulls at."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import PreTrainedModel

from unlearn_lab.unlearn.mask import kept_units, summary, write_mask
from unlearn_lab.unlearn.saliency import choose, mean_gradient, unit_scores
from unlearn_lab.unlearn.selected import Part, SelectedOptimizer
from unlearn_lab.unlearn.units import Granularity, Layout, is_attention, layout
from unlearn_lab.unlearn.update import Prepared, Request, Training


@dataclass(frozen=True, kw_only=True)
class SURE:
    """Saliency-based unlearning with a large learning rate (Zhang et al., 2410.16454, Eq. 4-6).

    The gradient of the forget loss at the target, over the forget set, gives each unit i of the
    weights a saliency s_i = ||g_i||_2; with gamma the `percentile` of all s_i, the mask is
    m_i = 1[s_i >= gamma]. The `inner` torch optimizer then descends the full objective with
    learning rate `lr` on the chosen units alone: every other weight stays bit-identical, whatever
    the inner optimizer does.

    `granularity` says what a unit is (see `units.layout`). `modules` is a regular expression: of
    the trained parameters, only those whose name it is found in take part; null takes all.
    `batches` takes so many forget batches of the first epoch for the mask, null all of them.
    `refresh_steps` makes a new mask at the present weights every so many steps: beyond the paper,
    and a weight may then move once its unit is chosen.

    The released code masks gradients, of every step anew, in a hook that its trainer never calls:
    see `released.SUREReleased`.
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
        _compiled(self.modules)
        inner_optimizer(self.inner, self.lr)([Parameter(Tensor([0.0]))])

    def require_fit(self, request: Request) -> None:
        """Raises `ValueError` for modules, heads or batches that are not there."""
        layouts_of(request.model, request.parameters, self.granularity, self.modules)
        if self.batches is not None and self.batches > request.num_batches:
            raise ValueError(
                f"batches={self.batches}: an epoch has {request.num_batches} forget batches; "
                "choose at most that, or null for all"
            )

    def prepare(self, training: Training) -> Prepared:
        """The mask, the optimizer over the chosen units, and the callback that renews the mask."""
        if training.scores is None:
            raise ValueError("SURE needs the saliency stage, whose scores are not there")
        layouts = layouts_of(training.model, training.parameters, self.granularity, self.modules)
        mask, gamma = choose(training.scores, self.percentile)
        write_mask(training.work, mask)
        if self.refresh_steps is None:
            _freeze(training.parameters, mask)
        parts = functools.partial(
            _parts, training.parameters, layouts, empty=self.refresh_steps is not None
        )
        make = inner_optimizer(self.inner, self.lr)
        renew = _Renewal(self, training, layouts, parts)
        return Prepared(
            make=lambda: SelectedOptimizer(parts(mask), make, rounding_seed=training.rounding_seed),
            callbacks=() if self.refresh_steps is None else (renew,),
            facts={"mask": summary(mask, layouts, gamma)},
        )


def layouts_of(
    model: PreTrainedModel,
    parameters: Mapping[str, Parameter],
    granularity: Granularity,
    modules: str | None,
) -> dict[str, Layout]:
    """The units of every parameter that takes part, by its name.

    Raises `ValueError` when there is none, or a parameter does not fall into such units.
    """
    pattern = _compiled(modules)
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    size = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else None)
    found = {
        name: layout(name, tuple(parameter.shape), granularity, size)
        for name, parameter in parameters.items()
        if pattern.search(name)
    }
    if not found:
        known = ", ".join(list(parameters)[:3])
        raise ValueError(
            f"modules={modules}: found in no name of a trained parameter ({known} ...); give a "
            "regular expression such as mlp or layers.[0-3]., or null"
        )
    if granularity == "head" and not any(is_attention(name) for name in found):
        raise ValueError(
            "granularity=head: no attention projection q_proj, k_proj or v_proj takes part; choose "
            "row, matrix or weight"
        )
    return found


def inner_optimizer(inner: Callable[..., Optimizer], lr: float) -> Callable[..., Optimizer]:
    """The inner optimizer at the rule's learning rate.

    Raises `ValueError` when it was given another, or has none.
    """
    given = getattr(inner, "keywords", {})
    if "lr" in given:
        raise ValueError(f"inner.lr={given['lr']}: set optimizer.lr instead")
    return functools.partial(inner, lr=lr)


def require_percentile(percentile: float) -> None:
    """Raises `ValueError` for what is no percentile, or would keep the single largest unit."""
    if not 0 <= percentile < 100:
        raise ValueError(
            f"percentile={percentile}: must be at least 0 (keep all) and below 100; 90 keeps the "
            "most salient tenth"
        )


class _Renewal(Callback):
    """Makes a new mask every `refresh_steps` steps."""

    def __init__(
        self,
        rule: SURE,
        training: Training,
        layouts: Mapping[str, Layout],
        parts: Callable[[Mapping[str, Tensor]], dict[str, Part]],
    ) -> None:
        self._rule = rule
        self._training = training
        self._layouts = layouts
        self._parts = parts

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Ranks the units again, at the present weights."""
        every = self._rule.refresh_steps
        if every is None or trainer.global_step % every:
            return
        optimizer = trainer.optimizers[0]
        if not isinstance(optimizer, SelectedOptimizer):
            raise TypeError(f"SURE's optimizer was replaced by {type(optimizer).__name__}")
        taking_part = {name: self._training.parameters[name] for name in self._layouts}
        gradient = mean_gradient(taking_part, self._training.forget_losses())
        mask, _ = choose(unit_scores(gradient, self._layouts), self._rule.percentile)
        optimizer.choose(self._parts(mask))


def _parts(
    parameters: Mapping[str, Parameter],
    layouts: Mapping[str, Layout],
    mask: Mapping[str, Tensor],
    *,
    empty: bool,
) -> dict[str, Part]:
    """The chosen units by parameter; parameters without any only where `empty` ones may come in."""
    return {
        name: Part(
            parameter=parameters[name],
            layout=layouts[name],
            units=kept_units(kept, parameters[name].device),
        )
        for name, kept in mask.items()
        if empty or bool(kept.any())
    }


def _freeze(parameters: Mapping[str, Parameter], mask: Mapping[str, Tensor]) -> None:
    """Spares the backward pass the gradients of parameters of which nothing was chosen."""
    for name, parameter in parameters.items():
        if name not in mask or not bool(mask[name].any()):
            parameter.requires_grad_(False)


def _compiled(modules: str | None) -> re.Pattern[str]:
    try:
        return re.compile(modules or "")
    except re.error as error:
        raise ValueError(f"modules={modules}: is no regular expression ({error})") from error
