"""Divides parameters into units that are selected or masked whole: rows, heads, matrices."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter

from unlearn_lab.data.typed import PreTrainedModel

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
        """Number of units in the parameter."""
        return self.shape[self.axis]

    @property
    def unit_size(self) -> int:
        """Number of weights in a unit."""
        return math.prod(self.shape) // self.num_units

    def take(self, values: Tensor, units: Int[Tensor, " kept"]) -> Tensor:
        """Copies the given units of a tensor of the parameter's shape."""
        return values.reshape(self.shape).index_select(self.axis, units)

    def put(self, values: Tensor, units: Int[Tensor, " kept"], new: Tensor) -> None:
        """Overwrites the given units in place; every other entry keeps its bits.

        Args:
            values: a tensor of the parameter's shape.
            units: indices of the units.
            new: their new values, in the shape that `take` returns.
        """
        values.view(self.shape).index_copy_(self.axis, units, new)

    def norms(self, values: Float[Tensor, "..."]) -> Float[Tensor, " units"]:
        """Returns the L2 norm of every unit, summed in at least float32, as float32."""
        others = tuple(axis for axis in range(len(self.shape)) if axis != self.axis)
        viewed = values.reshape(self.shape)
        if not others:
            return viewed.abs().float()
        wide = torch.promote_types(values.dtype, torch.float32)
        return torch.linalg.vector_norm(viewed, dim=others, dtype=wide).float()


def layout(
    name: str, shape: tuple[int, ...], granularity: Granularity, head_size: int | None
) -> Layout:
    """Divides a parameter into units.

    - `matrix`: the whole parameter is one unit.
    - `row`: an output neuron of a linear layer, a token of an embedding; every entry of a vector
      (norm weight, bias) is a unit, as in the code released with SURE.
    - `head`: in attention projections, the `head_size` rows (queries, keys, values) or columns
      (output projection) of one head; everywhere else as `row`.
    - `weight`: every single weight.

    Raises `ValueError` if a projection does not divide into heads.

    Args:
        name: the parameter's qualified name.
        shape: its shape.
        granularity: the kind of unit.
        head_size: features per attention head; None if the model has no heads.
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
    """Whether a parameter belongs to a query, key or value projection, whose rows form heads."""
    return _owner(name) in _HEAD_OUTPUTS


def _joins_heads(name: str) -> bool:
    """Whether a parameter is the weight of an attention layer's output projection."""
    attention = any("attn" in part or "attention" in part for part in name.split(".")[:-2])
    return attention and _owner(name) in _HEAD_INPUTS and name.endswith(".weight")


def _owner(name: str) -> str:
    """Returns the last name component of the layer that a parameter belongs to."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _heads(name: str, shape: tuple[int, ...], axis: int, head_size: int | None) -> Layout:
    if head_size is None or shape[axis] % head_size:
        raise ValueError(
            f"granularity=head: {name} has {shape[axis]} features along its heads, not a multiple "
            f"of the head size {head_size}; choose row, matrix or weight"
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
    """Divides every selected parameter into units; returns the layouts by parameter name.

    Raises `ValueError` if no parameter is selected, or `granularity=head` does not apply to them.

    Args:
        model: gives the head size.
        parameters: the trained parameters, by name.
        granularity: the kind of unit.
        modules: regular expression that is searched for in the names; None selects all.
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
            f"modules={modules}: matches no name of a trained parameter ({known} ...); give a "
            "regular expression such as mlp or layers.[0-3]., or null"
        )
    if granularity == "head" and not any(is_attention(name) for name in found):
        raise ValueError(
            "granularity=head: no attention projection q_proj, k_proj or v_proj takes part; choose "
            "row, matrix or weight"
        )
    return found


def compiled(modules: str | None) -> re.Pattern[str]:
    """Compiles a regular expression on names; None matches every name.

    Raises `ValueError` if it is invalid.
    """
    try:
        return re.compile(modules or "")
    except re.error as error:
        raise ValueError(f"modules={modules}: not a valid regular expression ({error})") from error
