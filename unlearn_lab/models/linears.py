"""The linear layers inside the blocks: those that are quantized, and the weights trained."""

from collections.abc import Mapping
from typing import Literal

from torch import nn
from torch.nn import Parameter
from transformers import PreTrainedModel

LEFT_OUT = 0.01
"""The share of a model's weight matrices, by elements, that may be in no linear layer of a block.

Convolutions and decay rates of state-space layers are that few.
"""


def blocks_name(model: PreTrainedModel) -> str | None:
    """The qualified name of the list of transformer blocks: the longest `nn.ModuleList`."""
    lists = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)
    }
    return max(lists, key=lambda name: (len(lists[name]), -name.count("."))) if lists else None


def block_linears(model: PreTrainedModel) -> Mapping[str, nn.Linear]:
    """The `nn.Linear` layers inside the transformer blocks, by qualified name, in forward order.

    Embeddings and `lm_head` stay out, as in GPTQ, AWQ and bitsandbytes. A block is a member of the
    longest `nn.ModuleList`. Raises `ValueError` when there is none (GPT-2's Conv1D layers do not
    count), so that nothing is quantized in silence, for a mixture of experts, whose experts are no
    linear layers, and for any other model of whose weight matrices more than `LEFT_OUT` would be
    left out: XLM's feed-forward layers, a second stack of blocks, a vision tower.
    """
    blocks = blocks_name(model)
    found = {
        name: module
        for name, module in model.named_modules()
        if blocks is not None and name.startswith(f"{blocks}.") and isinstance(module, nn.Linear)
    }
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no torch.nn.Linear inside its transformer blocks, so no "
            "layer could be quantized: use an architecture with linear layers (Llama, Qwen, Gemma, "
            "Phi, Mistral, GPT-NeoX, OPT)"
        )
    for name, parameter in model.named_parameters():
        if ".experts." in name and parameter.dim() == 3:
            raise ValueError(
                f"{type(model).__name__} is a mixture of experts, and {name} is no "
                "torch.nn.Linear, so that most of its weights would be left out: use a dense model"
            )
    _require_all(model, found)
    return found


def _require_all(model: PreTrainedModel, found: Mapping[str, nn.Linear]) -> None:
    """Refuses a model of whose matrices too many are in none of these layers.

    What is in no stack of blocks at all counts as part of the embeddings, as OPT's projections.
    """
    covered = {id(own) for layer in found.values() for own in layer.parameters()}
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    stacked = {id(weight) for stack in stacks for weight in stack.parameters()}
    left_out = {
        name: weight.numel()
        for name, weight in model.named_parameters()
        if weight.dim() > 1 and id(weight) in stacked - covered
    }
    total = sum(layer.weight.numel() for layer in found.values()) + sum(left_out.values())
    share = sum(left_out.values()) / total
    if share > LEFT_OUT:
        names = sorted(left_out, key=lambda name: (-left_out[name], name))
        listed = ", ".join(names[:3]) + (", ..." if names[3:] else "")
        raise ValueError(
            f"{type(model).__name__}: {share:.0%} of its weight matrices are in no torch.nn.Linear "
            f"of its main blocks ({listed}) and would be left out: use an architecture with one "
            "stack of linear layers, for text only"
        )


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
