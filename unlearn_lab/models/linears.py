"""Decides which layers are quantized (linear layers in blocks) and which parameters are trained."""

from collections.abc import Mapping
from typing import Literal

from torch import nn
from torch.nn import Parameter

from unlearn_lab.data.typed import PreTrainedModel

LEFT_OUT = 0.01
"""Largest share of a model's weight matrices, by elements, outside linear layers of its blocks.

Convolutions and decay rates of state-space layers stay below it.
"""


def blocks_name(model: PreTrainedModel) -> str | None:
    """Returns the name of the list of transformer blocks: the longest `nn.ModuleList`, if any."""
    lists = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)
    }
    return max(lists, key=lambda name: (len(lists[name]), -name.count("."))) if lists else None


def block_linears(model: PreTrainedModel) -> Mapping[str, nn.Linear]:
    """Returns the `nn.Linear` layers in transformer blocks, by qualified name, in forward order.

    Embeddings and `lm_head` are excluded, as in GPTQ, AWQ and bitsandbytes. Blocks are the members
    of the longest `nn.ModuleList`.

    Raises:
        ValueError: there is no such layer (GPT-2's Conv1D is none), so that a model is not silently
            left unquantized; the model is a mixture of experts, whose experts are not linear
            layers; or more than `LEFT_OUT` of the weight matrices would be excluded (XLM's
            feed-forward layers, a second stack of blocks, a vision tower).
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
    """Raises `ValueError` if too many of a model's weight matrices are not in these layers.

    Weights outside every `nn.ModuleList` count as embeddings (OPT's projections).
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
    """Freezes every parameter except weights of block linears; `all` freezes none."""
    if trainable == "block_linears":
        model.requires_grad_(False)
        for linear in block_linears(model).values():
            linear.weight.requires_grad_(True)


def trained_parameters(model: PreTrainedModel) -> dict[str, Parameter]:
    """Returns the trainable parameters, by their names in a checkpoint.

    Under `training_arithmetic` a layer's weight may be computed; this is the stored parameter.
    """
    return {
        name.replace(".parametrizations.", ".").removesuffix(".original"): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
