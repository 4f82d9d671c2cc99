"""bfloat16 weights with float32 arithmetic, for processors that only emulate bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel


class _Float32(nn.Module):
    """What a layer computes with in place of its weight; gradients come back in bfloat16."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


@contextmanager
def float32_arithmetic(model: PreTrainedModel) -> Iterator[None]:
    """Lets a bfloat16 model on a CPU compute in float32; weights and gradients stay bfloat16.

    So does the optimizer's state. What pure bfloat16 training is about, that a weight cannot take a
    step below half its spacing, is untouched; activations are finer, and a step is faster than with
    emulated bfloat16 products. Models on other devices, or in other dtypes, are left alone.
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
