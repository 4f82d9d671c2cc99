"""The logits of the next token, from a model and its cache of keys and values."""

import inspect
from typing import Any, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel


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
    takes = inspect.signature(model.forward).parameters
    positions = (real.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    further = {"position_ids": positions, "logits_to_keep": 1}
    output = cast("Any", model)(
        input_ids=ids,
        attention_mask=real.long(),
        past_key_values=cache,
        use_cache=True,
        **{name: value for name, value in further.items() if name in takes},
    )
    return output.logits[:, -1]
