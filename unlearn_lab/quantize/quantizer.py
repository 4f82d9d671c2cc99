"""Quantizer protocols: round the weights of the block linears and report what was computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class QuantReport:
    """Report of one quantization: the kernel that ran, its settings and the error of each layer.

    Attributes:
        library: package that rounded the weights, with its version.
        kernel: description of the computation.
        bits: bits per weight; None if there is no single known number.
        group: weights that share a scale: `tensor`, `row`, or their number and direction.
        symmetric: whether the grid is symmetric around 0; None if unknown or without a grid.
        convention: how the scale is computed from the weights, or the name of the level table.
        num_layers: number of quantized layers; None if unknown.
        weight_error: ||Q(w) - w|| / ||w|| by layer name (Frobenius norm), where w is the weight
            that was rounded.
    """

    library: str
    kernel: str
    bits: int | None
    group: str | None
    symmetric: bool | None
    convention: str | None
    num_layers: int | None
    weight_error: Mapping[str, float]


@dataclass(frozen=True)
class Codes:
    """Integer codes of a weight on its grid, and the step that multiplies each code.

    Code 0 represents the weight 0. `steps` is None where weights are not multiples of a step: with
    uneven levels (nf4, fp4), and where weights were rescaled before rounding (AWQ).
    """

    integers: Int[Tensor, "out in"]
    steps: Float[Tensor, "out in"] | None


@runtime_checkable
class CalibrationText(Protocol):
    """Calibration text of a quantizer; see `calibration.Calibration`."""

    @property
    def source(self) -> str:
        """Name of the text source, such as `generic` or `retain`."""
        ...

    @property
    def length(self) -> int:
        """Tokens per sequence."""
        ...


@runtime_checkable
class AnyQuantizer(Protocol):
    """Interface shared by all kinds of quantizers."""

    @property
    def bits(self) -> int | None:
        """Bits per weight; None if there is no single number known in advance."""
        ...

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` if this quantizer cannot quantize the model; reads no weights.

        The message names the layer, or the missing library and how to install it.
        """
        ...


@runtime_checkable
class Quantizer(AnyQuantizer, Protocol):
    """Quantizer that rounds a model's weights in place within seconds, so it is applied on load.

    Example:
        from transformers import AutoModelForCausalLM
        from unlearn_lab.quantize.rtn import RTN

        model = AutoModelForCausalLM.from_pretrained("path/to/checkpoint")
        quantizer = RTN(
            bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax"
        )
        quantizer.require_fit(model)
        report = quantizer.quantize(model)  # in place
        print(report.kernel, max(report.weight_error.values()))
    """

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the weights of the block linears in place by their rounded values."""
        ...

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes | None:
        """Returns the integer codes for code-flip analysis; None if there is no grid."""
        ...


@runtime_checkable
class CalibratedQuantizer(AnyQuantizer, Protocol):
    """Quantizer that needs a calibration set; its result is stored as a checkpoint."""

    @property
    def calibration(self) -> CalibrationText:
        """Calibration text to run through the model."""
        ...

    @property
    def rescales(self) -> bool:
        """Whether weights are rescaled before rounding; `Codes.steps` is then None."""
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

        Raises `ValueError` when any block linear is left unquantized.

        Args:
            model: the model, on the CPU; changed in place and not usable afterwards.
            tokenizer: the model's tokenizer, written to the checkpoint.
            sequences: token ids of the calibration set.
            folder: the folder to write to.
            device: the device on which layers are calibrated, one by one.
        """
        ...
