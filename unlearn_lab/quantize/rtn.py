"""Round to nearest: moves each weight to the closest level of its tensor, row or group grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.grid import (
    ASYMMETRIC_CONVENTIONS,
    BIT_WIDTHS,
    GRANULARITIES,
    SYMMETRIC_CONVENTIONS,
    decode,
    encode,
)
from unlearn_lab.quantize.in_place import round_layers
from unlearn_lab.quantize.quantizer import Codes, QuantReport


@dataclass(frozen=True, kw_only=True)
class RTN:
    """Round to nearest on an integer grid, without calibration (Zhang et al., 2410.16454, Eq. 2).

    Raises `ValueError` for values and combinations other than those listed.

    Attributes:
        bits: bits per weight, 2 to 8.
        symmetric: whether the grid is symmetric around 0.
        granularity: weights that share a step: `tensor`, `row` or `group`.
        group_size: input features per group; None unless `granularity` is `group`.
        convention: `absmax`, `paper` or `full_range` for a symmetric grid, `minmax` for an
            asymmetric one; defined in `fit_grid`, with the deviation of `paper` from the equation.
    """

    bits: int
    symmetric: bool
    granularity: str
    group_size: int | None
    convention: str
    packing_libraries: ClassVar[tuple[str, ...]] = ("compressed-tensors",)

    def __post_init__(self) -> None:
        """Raises `ValueError` for values and combinations that define no grid."""
        if self.bits not in BIT_WIDTHS:
            raise ValueError(f"bits={self.bits}: must be a whole number from 2 to 8")
        if self.granularity not in GRANULARITIES:
            raise ValueError(
                f"granularity={self.granularity!r}: must be one of {', '.join(GRANULARITIES)}"
            )
        allowed = SYMMETRIC_CONVENTIONS if self.symmetric else ASYMMETRIC_CONVENTIONS
        if self.convention not in allowed:
            raise ValueError(
                f"convention={self.convention!r} with symmetric={self.symmetric}: "
                f"must be one of {', '.join(allowed)}"
            )
        if self.granularity != "group" and self.group_size is not None:
            raise ValueError(
                f"group_size={self.group_size} with granularity={self.granularity}: must be null; "
                "groups need granularity=group"
            )
        if self.granularity == "group" and (self.group_size is None or self.group_size < 1):
            raise ValueError(
                f"group_size={self.group_size} with granularity=group: "
                "must be a whole number above 0"
            )

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` if the group size does not divide a layer's input features."""
        for name, layer in block_linears(model).items():
            if self.group_size is not None and layer.in_features % self.group_size:
                raise ValueError(
                    f"group_size={self.group_size}: layer {name} has {layer.in_features} input "
                    "features; choose a divisor of that"
                )

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears' weights in place by rounded values in the same dtype.

        Raises `ValueError` naming the layer when a weight cannot be rounded; the model is then
        partly rounded and must be discarded.
        """
        errors = round_layers(model, lambda weight: decode(self.codes(weight), weight.dtype))
        return self.report(errors)

    def report(self, errors: Mapping[str, float]) -> QuantReport:
        """Builds the report of a quantization from each layer's relative error."""
        return QuantReport(
            library=f"torch {torch.__version__.split('+')[0]}",
            kernel="round to nearest in float32",
            bits=self.bits,
            group=self.granularity if self.group_size is None else f"{self.group_size} inputs",
            symmetric=self.symmetric,
            convention=self.convention,
            num_layers=len(errors),
            weight_error=errors,
        )

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes:
        """Returns a weight's integer codes on its own grid, and the steps; without gradient."""
        with torch.no_grad():
            return encode(
                weight,
                bits=self.bits,
                convention=self.convention,
                granularity=self.granularity,
                group_size=self.group_size,
            )
