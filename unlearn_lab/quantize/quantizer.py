"""What a quantizer is: a rule that rounds the block linears' weights and says what really ran."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class QuantReport:
    """What a quantizer did: the kernel that ran, the layers it touched and the error of each."""

    library: str
    """The package that rounded, with its version."""
    kernel: str
    bits: int | None
    group: str | None
    """The weights that share a scale: `tensor`, `row`, or their number and direction."""
    symmetric: bool | None
    convention: str | None
    """How the scale follows from the weights, or the name of the table of levels."""
    num_layers: int | None
    weight_error: Mapping[str, float]
    """||Q(w) - w|| / ||w|| by layer name (Frobenius norm); w is the weight that was rounded."""


@dataclass(frozen=True)
class Codes:
    """A weight on its grid: integer codes, and the step that each of them is multiplied with.

    Code 0 stands for the weight 0. `steps` is None where a code is no multiple of a step: on uneven
    levels (nf4, fp4), and where weights were rescaled before they were rounded (AWQ).
    """

    integers: Int[Tensor, "out in"]
    steps: Float[Tensor, "out in"] | None


@runtime_checkable
class CalibrationText(Protocol):
    """The text that a quantizer sees; see `calibration.Calibration`."""

    @property
    def source(self) -> str:
        """Whose text it is."""
        ...

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        ...


@runtime_checkable
class AnyQuantizer(Protocol):
    """What all kinds of quantizers have in common."""

    @property
    def bits(self) -> int | None:
        """Bits a weight, or None where that is not one number known beforehand."""
        ...

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` when the model cannot be quantized so; reads no weight.

        Names the layer, or the library that is missing and how to install it.
        """
        ...


@runtime_checkable
class Quantizer(AnyQuantizer, Protocol):
    """A rule that rounds a model's weights in place, within seconds: applied on load."""

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the weights of the block linears in place by their rounded values."""
        ...

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes | None:
        """The integer codes, for code-flip analysis; None where there is no grid."""
        ...


@runtime_checkable
class CalibratedQuantizer(AnyQuantizer, Protocol):
    """A rule that needs to see text run through the model, and whose result is worth keeping."""

    @property
    def calibration(self) -> CalibrationText:
        """The text to be run through the model."""
        ...

    @property
    def rescales(self) -> bool:
        """Whether weights are rescaled before they are rounded, so that steps tell nothing."""
        ...

    def compress(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sequences: Int[Tensor, "samples length"],
        folder: Path,
        device: torch.device,
    ) -> QuantReport:
        """Writes the quantized model to `folder` as a compressed-tensors checkpoint.

        `model` lies on the CPU and is used up; its layers are calibrated on `device`, one by one.
        Raises `ValueError` when any block linear is left unquantized.
        """
        ...
