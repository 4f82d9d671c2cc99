"""Adds a PEFT adapter that was trained elsewhere to the weights of its model."""

from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.quantized import without_notices
from unlearn_lab.models.safe_files import file_of
from unlearn_lab.models.stored import ADAPTER_WEIGHTS

LIBRARY = "peft"


@torch.no_grad()
def merge(model: PreTrainedModel, path: str, revision: str | None) -> tuple[PreTrainedModel, str]:
    """Returns the model with the adapter's change added to its weights, and the library's version.

    The change is computed in float32, and the sum rounded to the dtype of the weights. Raises
    `ValueError` without the library, and for an adapter that is not in safetensors, whose tensors
    are not exactly those that its settings ask for on this model, that is not finite, or that is no
    change of weights (prompt tuning).

    Args:
        model: the model that the adapter was trained on; changed in place.
        path: folder or hub name of the adapter.
        revision: branch, tag or commit of a hub name.
    """
    library = require(LIBRARY)
    file = file_of(path, ADAPTER_WEIGHTS, revision)
    if file is None:
        raise ValueError(f"has no {ADAPTER_WEIGHTS}; adapters are read from safetensors only")
    with without_notices():
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
        from peft.utils import get_peft_model_state_dict
    try:
        stored = load_file(file)
        config = PeftConfig.from_pretrained(str(file.parent))
        wrapped = get_peft_model(cast("Any", model), config)
        own = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"this adapter cannot be put on the target ({reason})") from error
    if not hasattr(wrapped, "merge_and_unload"):
        raise ValueError(f"an adapter of type {config.peft_type} changes no weights to be merged")
    for name in sorted(own.keys() | stored.keys()):
        if name not in stored or name not in own:
            where = "its file" if name not in stored else "the target"
            raise ValueError(f"this adapter does not fit the target: {where} has no {name}")
        if stored[name].shape != own[name].shape:
            shapes = f"{tuple(stored[name].shape)}, and the target needs {tuple(own[name].shape)}"
            raise ValueError(f"this adapter does not fit the target: {name} has shape {shapes}")
        if not torch.isfinite(stored[name]).all():
            raise ValueError(f"this adapter's {name} holds NaN or infinite values")
    set_peft_model_state_dict(wrapped, stored)
    return cast("Any", wrapped).merge_and_unload(), library
