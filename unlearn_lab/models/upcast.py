"""Runs bfloat16 weights with float32 arithmetic on CPUs, which only emulate bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel


class _Float32(nn.Module):
    """Parametrization that upcasts a weight to float32; its gradient stays bfloat16."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


@contextmanager
def float32_arithmetic(model: PreTrainedModel) -> Iterator[None]:
    """Computes with a bfloat16 model on a CPU in float32; other devices and dtypes are unchanged.

    Weights, gradients and optimizer state stay bfloat16, and so does the effect of pure bfloat16
    training: a weight cannot take a step below half its spacing. Activations have a higher
    precision, and a step is faster than with emulated bfloat16 products.
    """
    weights = [
        (module, name)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dtype == torch.bfloat16 and parameter.device.type == "cpu"
    ]
    for module, name in weights:
        parametrize.register_parametrization(module, name, _Float32(), unsafe=True)
    try:
        yield
    finally:
        for module, name in weights:
            parametrize.remove_parametrizations(module, name, leave_parametrized=False)
