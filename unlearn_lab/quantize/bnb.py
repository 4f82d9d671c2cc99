"""bitsandbytes formats: 4-bit level tables (fp4, nf4), and 8-bit integers with a scale per row."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.quantized import without_notices
from unlearn_lab.quantize.grid import decode
from unlearn_lab.quantize.in_place import require_finite, round_layers
from unlearn_lab.quantize.quantizer import Codes, QuantReport

LIBRARY = "bitsandbytes"
TABLES = ("fp4", "nf4")
BLOCK_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, kw_only=True)
class BNB4:
    """4-bit rounding to a table of 16 levels times a block's absmax (Dettmers, 2305.14314).

    A block is `block_size` consecutive weights of the flattened matrix, across rows. Scales stay in
    float32 (no double quantization). bitsandbytes does the rounding; its layers are not used,
    because on a CPU their first forward pass repacks the weights. `table` is fp4 or nf4,
    `block_size` one of `BLOCK_SIZES`. Raises `ValueError` for other values.
    """

    table: str
    block_size: int
    libraries: ClassVar[tuple[str, ...]] = (LIBRARY,)

    def __post_init__(self) -> None:
        if self.table not in TABLES:
            raise ValueError(f"table={self.table!r}: must be one of {', '.join(TABLES)}")
        if self.block_size not in BLOCK_SIZES:
            allowed = ", ".join(map(str, BLOCK_SIZES))
            raise ValueError(f"block_size={self.block_size}: must be one of {allowed}")

    @property
    def bits(self) -> int:
        """4: both tables have 16 levels."""
        return 4

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library or block linears; every shape fits."""
        require(LIBRARY)
        block_linears(model)

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears' weights in place by rounded values in the same dtype.

        Raises `ValueError` naming the layer when a weight is not finite.
        """
        errors = round_layers(model, self._round)
        return QuantReport(
            library=require(LIBRARY),
            kernel=f"{self.table} rounding, dequantized to the model's dtype",
            bits=self.bits,
            group=f"{self.block_size} weights, flattened",
            symmetric=self.table == "fp4",
            convention=f"{self.table} table x absmax",
            num_layers=len(errors),
            weight_error=errors,
        )

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes:
        """Returns each weight's level as a rank counted from level 0, without steps.

        Levels are unevenly spaced.
        """
        require_finite(weight)
        packed, state = self._pack(weight.detach())
        halves = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], dim=1).flatten()
        levels = state.code.to(weight.device)
        distinct = levels.unique()  # fp4 has both +0 and -0
        ranks = torch.searchsorted(distinct, levels) - torch.searchsorted(
            distinct, torch.zeros_like(levels[:1])
        )
        integers = ranks[halves[: weight.numel()].long()].to(torch.int16)
        return Codes(integers=integers.reshape(weight.shape), steps=None)

    def _round(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        require_finite(weight)
        return _functional().dequantize_4bit(*self._pack(weight)).reshape(weight.shape)

    def _pack(self, weight: Float[Tensor, "out in"]) -> tuple[Tensor, Any]:
        """Returns the codes, two per byte, and the state that dequantizes them.

        The weight is flattened first: if rows are not a multiple of the block size, the library's
        CPU kernel dequantizes with the wrong scales.
        """
        return _functional().quantize_4bit(
            weight.flatten().contiguous(), blocksize=self.block_size, quant_type=self.table
        )


@dataclass(frozen=True, kw_only=True)
class BNB8:
    """8-bit integers with one scale per row, absmax / 127: the weights of LLM.int8() (2208.07339).

    Activations are not quantized, so there are no outlier columns; for the full method see
    `llmint8.LLMInt8`. Weights are cast to float16 first, as in bitsandbytes.
    """

    libraries: ClassVar[tuple[str, ...]] = (LIBRARY,)

    @property
    def bits(self) -> int:
        """8: one byte per weight."""
        return 8

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library or block linears; every shape fits."""
        require(LIBRARY)
        block_linears(model)

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears' weights in place by rounded values in the same dtype.

        Raises `ValueError` naming the layer when a weight is not finite in float16.
        """
        errors = round_layers(model, lambda weight: decode(self.codes(weight), weight.dtype))
        return QuantReport(
            library=require(LIBRARY),
            kernel="int8 vector-wise rounding of weights, dequantized to the model's dtype",
            bits=self.bits,
            group="row",
            symmetric=True,
            convention="absmax",
            num_layers=len(errors),
            weight_error=errors,
        )

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes:
        """Returns the int8 codes and the step of each row."""
        integers, largest = round_rows(weight)
        steps = (largest / 127)[:, None].expand(weight.shape)
        return Codes(integers=integers.to(torch.int16), steps=steps)


def round_rows(
    weight: Float[Tensor, "out in"],
) -> tuple[Int8[Tensor, "out in"], Float32[Tensor, " out"]]:
    """Returns a weight's int8 codes and each row's absmax, which code 127 represents.

    Raises `ValueError` for weights that are not finite in float16.
    """
    half = weight.detach().to(torch.float16)
    require_finite(half)
    # the GPU kernel accepts only float16; on a CPU, float32 input avoids float16 arithmetic
    given = half.float() if half.device.type == "cpu" else half
    integers, largest, _ = _functional().int8_vectorwise_quant(given)
    return integers, largest.float()


def _functional() -> ModuleType:
    """Imports the library's functions and silences its notice about an unused kernel."""
    with without_notices():
        import bitsandbytes.functional as functional
    return functional
