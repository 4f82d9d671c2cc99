"""Computes with a model in float32 or bfloat16, whichever dtype stores its weights."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.causal_lm import output_embedding

Arithmetic = Literal["fp32", "bf16"]


class _Float32(nn.Module):
    """Parametrization that upcasts a weight to float32; its gradient keeps the weight's dtype."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


@contextmanager
def training_arithmetic(model: PreTrainedModel, kind: Arithmetic) -> Iterator[None]:
    """Computes forward passes in `kind`; weights, gradients and optimizer state keep their dtype.

    - `fp32`: bfloat16 weights are upcast where they are used. A weight still cannot take a step
      below half its spacing, which is the effect of pure bfloat16 training.
    - `bf16`: bfloat16 weights are used as they are; float32 weights under autocast, where products
      are computed in bfloat16, and norms, softmax and the sums of a block in float32.

    float32 is not TF32, whatever the environment allows.
    """
    with _no_tf32(), _upcast(model) if kind == "fp32" else _autocast(model):
        yield


@contextmanager
def evaluation_arithmetic(model: PreTrainedModel, kind: Arithmetic) -> Iterator[None]:
    """As `training_arithmetic`, for weights that stay as they are.

    Upcasts bfloat16 weights in place for `fp32`, and casts each float32 weight once for `bf16`.
    """
    if kind == "fp32":
        model.float()
    cast = torch.autocast(model.device.type, torch.bfloat16, enabled=_casts(model, kind))
    with _no_tf32(), cast:
        yield


@contextmanager
def casts_once(model: PreTrainedModel, kind: Arithmetic) -> Iterator[None]:
    """Within `training_arithmetic`: keeps the casts of weights for all forward passes of a block.

    The weights must stay as they are in it. Generation would otherwise cast them at every token.
    """
    with torch.autocast(model.device.type, torch.bfloat16, enabled=_casts(model, kind)):
        yield


@contextmanager
def _no_tf32() -> Iterator[None]:
    """Computes float32 products in full; containers may allow TF32 by an environment variable."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _casts(model: PreTrainedModel, kind: Arithmetic) -> bool:
    return kind == "bf16" and any(one.dtype == torch.float32 for one in model.parameters())


@contextmanager
def _upcast(model: PreTrainedModel) -> Iterator[None]:
    weights = [
        (module, name)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dtype == torch.bfloat16
    ]
    for module, name in weights:
        parametrize.register_parametrization(module, name, _Float32(), unsafe=True)
    try:
        yield
    finally:
        for module, name in weights:
            parametrize.remove_parametrizations(module, name, leave_parametrized=False)


@contextmanager
def _autocast(model: PreTrainedModel) -> Iterator[None]:
    """Runs the forward passes of blocks and head under autocast, each in a context of its own.

    Leaving the context forgets the casts of the weights, which an optimizer's step outdates;
    backward passes and losses stay outside it, as torch advises.
    """
    parts = [model.base_model, output_embedding(model)] if _casts(model, "bf16") else []
    for part in parts:
        part.forward = functools.partial(_forward, part.forward, model.device.type)
    try:
        yield
    finally:
        for part in parts:
            del part.forward  # uncovers the class's method


def _forward(forward: Callable[..., Any], device: str, *args: Any, **kwargs: Any) -> Any:
    with torch.autocast(device, torch.bfloat16):
        return forward(*args, **kwargs)
