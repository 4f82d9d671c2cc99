"""A cache of keys and values with memory reserved for all tokens of a batch."""

from typing import Any, cast

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.next_token import new_cache


class ReservedLayer(DynamicLayer):
    """Keys and values of one layer, written into memory that is reserved for all tokens at once.

    transformers' layer copies all of them for every new token. Shape: [rows, heads, tokens, size of
    a head].
    """

    def __init__(self, most: int, *, is_sliding: bool) -> None:
        super().__init__()
        self._most, self._length = most, 0
        self.is_sliding = is_sliding

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Reserves memory for as many rows and heads as the states have."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._all = [
            states.new_empty((*states.shape[:-2], self._most, states.shape[-1]))
            for states in (key_states, value_states)
        ]
        self.is_initialized = True
        self._show()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes the states of new tokens behind the others; returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self._length = self._length, self._length + key_states.shape[-2]
        for whole, states in zip(self._all, (key_states, value_states), strict=True):
            whole[..., start : self._length, :] = states
        return self._show()

    def begin(self, layer: DynamicLayer, num_rows: int) -> None:
        """Writes what the layer of a single row holds into every row."""
        keys, values = (
            states.expand(num_rows, *states.shape[1:])
            for states in (cast("Tensor", layer.keys), cast("Tensor", layer.values))
        )
        self.update(keys, values)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows of these indices, in their order."""
        self._all = [whole[beam_idx] for whole in self._all]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        keys, values = (whole[..., : self._length, :] for whole in self._all)
        self.keys, self.values = keys, values
        return keys, values


def reserved_cache(
    model: PreTrainedModel, most: int, beginning: DynamicCache | None, num_rows: int
) -> DynamicCache:
    """Returns the cache of a batch, which begins with the keys and values of `beginning`.

    Layers that attend to all of at most `most` tokens get memory for as many.
    """
    cache = new_cache(model)
    for place, layer in enumerate(cache.layers):
        if _keeps_all(layer, most):
            is_sliding = cast("DynamicLayer", layer).is_sliding
            cache.layers[place] = ReservedLayer(most, is_sliding=is_sliding)
    if beginning is not None:
        for layer, known in zip(cache.layers, beginning.layers, strict=True):
            cast("ReservedLayer", layer).begin(cast("DynamicLayer", known), num_rows)
    return cache


def _keeps_all(layer: object, most: int) -> bool:
    """Whether a layer keeps every one of `most` tokens, as plain keys and values."""
    if type(layer) is DynamicSlidingWindowLayer:
        return most <= layer.sliding_window
    return type(layer) is DynamicLayer


def allows_gaps(model: PreTrainedModel, most: int) -> bool:
    """Whether padding may stand between a common beginning and the rest of a prompt.

    A sliding window would count it.
    """
    layers = new_cache(model).layers
    return bool(layers) and all(_keeps_all(layer, most) for layer in layers)


def keeps_keys(model: PreTrainedModel) -> bool:
    """Whether each layer's cache has keys and values only, and not a state that tokens change."""
    kinds = {type(layer) for layer in new_cache(model).layers}
    return bool(kinds) and kinds <= {DynamicLayer, DynamicSlidingWindowLayer}
