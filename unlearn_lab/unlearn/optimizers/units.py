"""The units of weights that are selected or masked as a whole: rows, heads, matrices, entries."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

Granularity = Literal["matrix", "row", "head", "weight"]

_HEAD_OUTPUTS = ("q_proj", "k_proj", "v_proj")
_HEAD_INPUTS = ("o_proj", "out_proj", "dense")


@dataclass(frozen=True)
class Layout:
    """A parameter viewed as `shape`; its unit i is the slice i along `axis`."""

    shape: tuple[int, ...]
    axis: int

    @property
    def num_units(self) -> int:
        """Into how many units the parameter falls."""
        return self.shape[self.axis]

    @property
    def unit_size(self) -> int:
        """Weights in a unit."""
        return math.prod(self.shape) // self.num_units

    def take(self, values: Tensor, units: Int[Tensor, " kept"]) -> Tensor:
        """The given units of a tensor of the parameter's shape, as a copy."""
        return values.reshape(self.shape).index_select(self.axis, units)

    def put(self, values: Tensor, units: Int[Tensor, " kept"], new: Tensor) -> None:
        """Overwrites the given units in place; every other entry keeps its bits."""
        values.view(self.shape).index_copy_(self.axis, units, new)

    def norms(self, values: Float[Tensor, "..."]) -> Float[Tensor, " units"]:
        """The L2 norm of every unit, summed in at least float32 and returned in it."""
        others = tuple(axis for axis in range(len(self.shape)) if axis != self.axis)
        viewed = values.reshape(self.shape)
        if not others:
            return viewed.abs().float()
        wide = torch.promote_types(values.dtype, torch.float32)
        return torch.linalg.vector_norm(viewed, dim=others, dtype=wide).float()


def layout(
    name: str, shape: tuple[int, ...], granularity: Granularity, head_size: int | None
) -> Layout:
    """The units of the parameter called `name`.

    - `matrix`: the whole parameter is one unit.
    - `row`: an output neuron of a linear layer, a token of an embedding; every entry of a vector
      (norm weight, bias) is a unit, as in the code released with SURE.
    - `head`: in the projections of an attention layer the `head_size` rows (queries, keys, values)
      or columns (output projection) of one head; everywhere else as `row`.
    - `weight`: every single weight.

    Raises `ValueError` when a projection cannot be divided into heads.
    """
    if granularity == "matrix":
        return Layout((1, math.prod(shape)), 0)
    if granularity == "weight":
        return Layout((math.prod(shape),), 0)
    if granularity == "head" and is_attention(name):
        return _heads(name, shape, 0, head_size)
    if granularity == "head" and _joins_heads(name):
        return _heads(name, shape, 1, head_size)
    return Layout(shape, 0)


def is_attention(name: str) -> bool:
    """Whether a parameter is a projection to queries, keys or values, which fall into heads."""
    return _owner(name) in _HEAD_OUTPUTS


def _joins_heads(name: str) -> bool:
    """Whether a parameter is the matrix that maps the heads' outputs back to the hidden size."""
    attention = any("attn" in part or "attention" in part for part in name.split(".")[:-2])
    return attention and _owner(name) in _HEAD_INPUTS and name.endswith(".weight")


def _owner(name: str) -> str:
    """The name of the layer that a parameter belongs to."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _heads(name: str, shape: tuple[int, ...], axis: int, head_size: int | None) -> Layout:
    if head_size is None or shape[axis] % head_size:
        raise ValueError(
            f"granularity=head: {name} has {shape[axis]} features along its heads, no multiple of "
            f"the head size {head_size}; choose row, matrix or weight"
        )
    num_heads = shape[axis] // head_size
    if axis == 0:
        return Layout((num_heads, math.prod(shape) // num_heads), 0)
    return Layout((shape[0], num_heads, head_size), 1)


def layouts_of(
    model: PreTrainedModel,
    parameters: Mapping[str, Parameter],
    granularity: Granularity,
    modules: str | None,
) -> dict[str, Layout]:
    """The units of every parameter that takes part, by its name.

    Raises `ValueError` when there is none, or a parameter does not fall into such units.
    """
    pattern = compiled(modules)
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    size = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else None)
    found = {
        name: layout(name, tuple(parameter.shape), granularity, size)
        for name, parameter in parameters.items()
        if pattern.search(name)
    }
    if not found:
        known = ", ".join(list(parameters)[:3])
        raise ValueError(
            f"modules={modules}: found in no name of a trained parameter ({known} ...); give a "
            "regular expression such as mlp or layers.[0-3]., or null"
        )
    if granularity == "head" and not any(is_attention(name) for name in found):
        raise ValueError(
            "granularity=head: no attention projection q_proj, k_proj or v_proj takes part; choose "
            "row, matrix or weight"
        )
    return found


def compiled(modules: str | None) -> re.Pattern[str]:
    """The regular expression, null being one that is found everywhere.

    Raises `ValueError` for what is none.
    """
    try:
        return re.compile(modules or "")
    except re.error as error:
        raise ValueError(f"modules={modules}: is no regular expression ({error})") from error
