"""Decides which layers are quantized, or trained alone: the linear ones inside the blocks."""

from collections.abc import Mapping

from torch import nn
from transformers import PreTrainedModel


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
    count), so that nothing is quantized in silence, and for a mixture of experts, whose experts
    are no linear layers and would be left out.
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
    return found
