"""One forward pass of a model over new tokens, with the keys and values of those before."""

import inspect
from typing import Any, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from unlearn_lab.data.typed import PreTrainedModel


def takes_cache(model: PreTrainedModel) -> bool:
    """Whether the model's forward pass takes `past_key_values` (Mamba's state has another name)."""
    return "past_key_values" in inspect.signature(model.forward).parameters


def new_cache(model: PreTrainedModel) -> DynamicCache:
    """Returns an empty cache with the kind of layer (sliding or not) that each layer needs."""
    return DynamicCache(config=model.config.get_text_config(decoder=True))


def next_logits(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch new"],
    real: Bool[Tensor, "batch total"],
    cache: Cache,
) -> Float[Tensor, "batch vocabulary"]:
    """Returns the logits after the last token; the cache then contains the new tokens too.

    Args:
        model: a model for which `takes_cache`.
        ids: the new tokens.
        real: False for padding, of the tokens in the cache and the new ones.
        cache: keys and values of the tokens before.
    """
    output = cast("Any", model)(**_inputs(model, ids, real, cache, logits_to_keep=1))
    return output.logits[:, -1]


def next_hidden(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch new"],
    real: Bool[Tensor, "batch total"],
    cache: Cache,
) -> Float[Tensor, "batch new hidden"]:
    """Returns the last hidden states of the new tokens; otherwise as `next_logits`."""
    output = model.base_model(**_inputs(model.base_model, ids, real, cache))
    return output.last_hidden_state


def _inputs(
    module: nn.Module, ids: Tensor, real: Tensor, cache: Cache, **further: object
) -> dict[str, Any]:
    """Returns the arguments of a forward pass, those of `further` and positions if it has them."""
    takes = inspect.signature(module.forward).parameters
    further["position_ids"] = (real.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return {
        "input_ids": ids,
        "attention_mask": real.long(),
        "past_key_values": cache,
        "use_cache": True,
        **{name: value for name, value in further.items() if name in takes},
    }
