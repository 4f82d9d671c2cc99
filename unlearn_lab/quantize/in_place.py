"""Rounds the block linears of a model in place, one by one, and measures each layer's error."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.grid import relative_error


def round_layers(
    model: PreTrainedModel, round_weight: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Replaces each weight by `round_weight(weight)` and returns relative errors by layer name.

    Raises `ValueError` naming the layer when a weight cannot be rounded or the result is not
    finite; the model is then partly rounded and must be discarded.
    """
    errors = {}
    for name, layer in block_linears(model).items():
        weight = layer.weight.detach()
        try:
            rounded = round_weight(weight)
            require_finite(rounded)
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from error
        errors[name] = relative_error(rounded, weight)
        weight.copy_(rounded)
    return errors


def require_finite(weight: Float[Tensor, "out in"]) -> None:
    """Raises `ValueError` with the number of weights that are NaN or infinite."""
    bad = int((~torch.isfinite(weight)).sum())
    if bad:
        raise ValueError(
            f"{bad} of {weight.numel()} weights are NaN or infinite in {_spell(weight.dtype)}: "
            "only finite weights can be quantized"
        )


def _spell(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
