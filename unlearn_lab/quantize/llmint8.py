"""LLM.int8(): weights and activations in 8 bits, but for activation columns that hold outliers."""

import logging
import math
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Literal

from jaxtyping import Float, Float32, Int8
from torch import Tensor, nn
from transformers import PreTrainedModel

from unlearn_lab.config.libraries import require
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import compute_dtype
from unlearn_lab.models.quantized import without_notices
from unlearn_lab.quantize.bnb import BNB8, LIBRARY, round_rows
from unlearn_lab.quantize.grid import relative_error
from unlearn_lab.quantize.quantizer import Codes, QuantReport

DEVICES = ("cpu", "cuda")
_CASTS = "bitsandbytes.autograd._functions"


@dataclass(frozen=True, kw_only=True)
class LLMInt8:
    """LLM.int8() (Dettmers et al., arXiv 2208.07339), as `load_in_8bit=True` of transformers runs.

    Weights are those of `BNB8`. At every pass each row (token) of the activations is rounded to
    int8 in turn, and the product is taken in integers; columns (features) in which any row reaches
    `threshold` stay in the dtype of the activations and meet the dequantized weights. 0 rounds
    all columns. The rows of a batch, padding included, decide together which columns these are, so
    that answers depend on who shares the batch, within the error of rounding to int8.

    Deviates from the paper as bitsandbytes does: outlier columns have rounded weights, and a row's
    scale counts those of their values that are no outliers. Raises `ValueError` for a negative
    or infinite threshold.
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
        """One byte a weight."""
        return 8

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library or block linears; every shape fits."""
        BNB8().require_fit(model)

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears by bitsandbytes' layers, which hold the rounded weights.

        They are in evaluation mode and stay so until the model is put into training mode, where
        they would leave activations alone on a CPU. Raises `ValueError` naming the layer when a
        weight is not finite in float16, and for devices other than `DEVICES`.
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
        dtype = str(compute_dtype(model)).removeprefix("torch.")
        kept = f"columns that reach {self.threshold:g} in their batch in {dtype}"
        kept = kept if self.threshold else "no outlier columns"
        return QuantReport(
            library=require(LIBRARY),
            kernel=f"LLM.int8() on {device}: weights and {dtype} activations rounded to int8 "
            f"row by row, {kept}",
            bits=self.bits,
            group="row",
            symmetric=True,
            convention="absmax",
            num_layers=len(errors),
            weight_error=errors,
        )

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes:
        """The int8 codes and the step of each row."""
        return BNB8().codes(weight)

    def _layer(
        self,
        layer: nn.Linear,
        integers: Int8[Tensor, "out in"],
        largest: Float32[Tensor, " out"],
    ) -> nn.Linear:
        """The library's layer with these codes for this layer's weight, and its bias."""
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
    """The library's layers, imported without its notice about a kernel not used here."""
    with without_notices():
        import bitsandbytes.nn as layers
    return layers


def _is_no_cast(record: logging.LogRecord) -> bool:
    """False for what the library says at every pass of every layer: activations pass float16."""
    return "will be cast from" not in record.getMessage()
