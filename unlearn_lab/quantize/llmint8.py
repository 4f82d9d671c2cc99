"""LLM.int8(): weights and activations in 8 bits, except activation columns with outliers."""

import logging
import math
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Literal

from jaxtyping import Float, Float32, Int8
from torch import Tensor, nn

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.quantized import without_notices
from unlearn_lab.quantize.bnb import BNB8, LIBRARY, round_rows
from unlearn_lab.quantize.grid import relative_error
from unlearn_lab.quantize.quantizer import Codes, QuantReport

DEVICES = ("cpu", "cuda")
_CASTS = "bitsandbytes.autograd._functions"


@dataclass(frozen=True, kw_only=True)
class LLMInt8:
    """LLM.int8() (Dettmers et al., arXiv 2208.07339), as transformers' `load_in_8bit=True` runs it.

    Weights are those of `BNB8`. In every forward pass, each row (token) of the activations is
    rounded to int8 and multiplied in integer arithmetic. Columns (features) in which any row
    reaches `threshold` keep the dtype of the activations and are multiplied with the dequantized
    weights; threshold 0 rounds all columns. All rows of a batch, padding included, determine the
    outlier columns, so answers depend on the rest of the batch, within the error of int8 rounding.

    Deviates from the paper as bitsandbytes does: outlier columns use rounded weights, and a row's
    scale includes the values below the threshold in outlier columns. Raises `ValueError` for a
    negative or infinite threshold.
    """

    threshold: float
    libraries: ClassVar[tuple[str, ...]] = (LIBRARY,)
    batch_dependent: ClassVar[Literal[True]] = True

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < math.inf:
            raise ValueError(
                f"threshold={self.threshold}: must be 0 (no outlier columns) or above, and finite"
            )

    @property
    def bits(self) -> int:
        """8: one byte per weight."""
        return 8

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library or block linears; every shape fits."""
        BNB8().require_fit(model)

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears by bitsandbytes' layers with the rounded weights.

        The layers are in evaluation mode; in training mode on a CPU they would not round
        activations. Raises `ValueError` naming the layer when a weight is not finite in float16,
        and for devices other than `DEVICES`.
        """
        device = model.device.type
        if device not in DEVICES:
            raise ValueError(
                f"LLM.int8() runs on {' and '.join(DEVICES)}, not on {device}: choose another "
                "runtime.accelerator, or quant=int8, which leaves activations alone"
            )
        logging.getLogger(_CASTS).addFilter(_is_no_cast)
        errors = {}
        for name, layer in block_linears(model).items():
            try:
                integers, largest = round_rows(layer.weight)
            except ValueError as error:
                raise ValueError(f"layer {name}: {error}") from error
            dequantized = integers * (largest / 127)[:, None]
            errors[name] = relative_error(dequantized, layer.weight.detach())
            model.set_submodule(name, self._layer(layer, integers, largest))
        kept = f"columns that reach {self.threshold:g} in their batch unrounded"
        kept = kept if self.threshold else "no outlier columns"
        return QuantReport(
            library=require(LIBRARY),
            kernel=f"LLM.int8() on {device}: weights and activations rounded to int8 "
            f"row by row, {kept}",
            bits=self.bits,
            group="row",
            symmetric=True,
            convention="absmax",
            num_layers=len(errors),
            weight_error=errors,
        )

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes:
        """Returns the int8 codes and the step of each row."""
        return BNB8().codes(weight)

    def _layer(
        self,
        layer: nn.Linear,
        integers: Int8[Tensor, "out in"],
        largest: Float32[Tensor, " out"],
    ) -> nn.Linear:
        """Builds the library's layer from the codes and row maxima of `layer`, with its bias."""
        layers = _library()
        rounded = layers.Linear8bitLt(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            has_fp16_weights=False,
            threshold=self.threshold,
            device="meta",
        )
        rounded.weight = layers.Int8Params(
            integers, requires_grad=False, has_fp16_weights=False, CB=integers, SCB=largest
        )
        rounded.bias = layer.bias
        return rounded.eval()


def _library() -> ModuleType:
    """Imports the library's layers and silences its notice about an unused kernel."""
    with without_notices():
        import bitsandbytes.nn as layers
    return layers


def _is_no_cast(record: logging.LogRecord) -> bool:
    """Drops the library's notice, at every pass of every layer, that activations are cast."""
    return "will be cast from" not in record.getMessage()
