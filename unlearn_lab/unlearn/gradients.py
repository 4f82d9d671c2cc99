"""Sums gradients over backward passes in at least float32, whatever the parameters' dtype."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


def summed_gradients(
    parameters: Mapping[str, Parameter], losses: Iterable[Tensor]
) -> tuple[dict[str, Tensor], int]:
    """Returns the sum of the gradients of `losses`, and their number.

    `losses` are scalars. Each sum has its parameter's shape, in float32 (float64 for float64
    parameters); it is zeros for a parameter without a gradient. Memory: one such copy of the
    parameters, plus the gradient of one parameter at a time, which a hook adds and frees as soon as
    the backward pass has computed it. `grad` is None afterwards.
    """
    sums = {
        name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
        for name, p in parameters.items()
    }

    def add_up(total: Tensor, parameter: Tensor) -> None:
        if parameter.grad is not None:
            total.add_(parameter.grad)
        parameter.grad = None

    hooks = [
        parameter.register_post_accumulate_grad_hook(functools.partial(add_up, sums[name]))
        for name, parameter in parameters.items()
    ]
    count = 0
    for parameter in parameters.values():
        parameter.grad = None
    try:
        for loss in losses:
            torch.autograd.backward(loss, inputs=list(parameters.values()))
            count += 1
    finally:
        for hook in hooks:
            hook.remove()
    return sums, count


def with_gradients(value: Tensor, gradients: Mapping[Parameter, Tensor]) -> Tensor:
    """Returns `value`, a scalar whose backward pass yields `gradients`, cast to the parameters.

    Each gradient has its parameter's shape. A training loop can then treat the result as a loss:
    gradients reach hooks and the exchange between ranks once. It can be differentiated once,
    because that frees the gradients one by one.
    """
    held = list(gradients.values())
    held.reverse()
    return _Computed.apply(value.detach(), held, *gradients)  # pyright: ignore[reportReturnType] a tensor


class _Computed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, held: list[Tensor], *parameters: Parameter) -> Tensor:
        ctx.held, ctx.dtypes = held, [parameter.dtype for parameter in parameters]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        factor = outer[0]
        found = [ctx.held.pop().mul_(factor).to(dtype) for dtype in ctx.dtypes]
        return None, None, *found
