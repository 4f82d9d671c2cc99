"""Round to nearest: a weight goes to the closest level of its tensor's, row's or group's grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

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

    `convention` is absmax, paper or full_range for a symmetric grid and minmax for an asymmetric
    one: see `fit_grid` for what each means and where `paper` deviates from the equation.
    `group_size` counts input features and goes with granularity group only. Raises `ValueError` for
    values outside these.
    """

    bits: int
    symmetric: bool
    granularity: str
    group_size: int | None
    convention: str
    packing_libraries: ClassVar[tuple[str, ...]] = ("compressed-tensors",)

    def __post_init__(self) -> None:
        """Refuses values and combinations that name no grid."""
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
        """Raises `ValueError` when a layer's input features cannot be divided into groups."""
        for name, layer in block_linears(model).items():
            if self.group_size is not None and layer.in_features % self.group_size:
                raise ValueError(
                    f"group_size={self.group_size}: layer {name} has {layer.in_features} input "
                    "features; choose a divisor of that"
                )

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears' weights in place by rounded values of their own dtype.

        Raises `ValueError` naming the layer when a weight cannot be rounded; the model is then half
        done: discard it.
        """
        errors = round_layers(model, lambda weight: decode(self.codes(weight), weight.dtype))
        return self.report(errors)

    def report(self, errors: Mapping[str, float]) -> QuantReport:
        """What ran, with the relative error of each layer."""
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
        """The integer codes of a weight on its own grid, and the steps; no gradient flows."""
        with torch.no_grad():
            return encode(
                weight,
                bits=self.bits,
                convention=self.convention,
                granularity=self.granularity,
                group_size=self.group_size,
            )
