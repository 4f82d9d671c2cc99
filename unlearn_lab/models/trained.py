"""Decides which weights unlearning trains, and calls them by their names in the checkpoint."""

from typing import Literal

from torch.nn import Parameter
from transformers import PreTrainedModel

from unlearn_lab.models.linears import block_linears

Trainable = Literal["all", "block_linears"]


def choose_trainable(model: PreTrainedModel, trainable: Trainable) -> None:
    """Freezes what does not take part."""
    if trainable == "block_linears":
        model.requires_grad_(False)
        for linear in block_linears(model).values():
            linear.weight.requires_grad_(True)


def trained_parameters(model: PreTrainedModel) -> dict[str, Parameter]:
    """The parameters that are trained, by the names they are saved under.

    Under `upcast.float32_arithmetic` a layer's weight is computed; here is what it is held in.
    """
    return {
        name.replace(".parametrizations.", ".").removesuffix(".original"): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
