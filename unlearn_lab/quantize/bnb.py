"""bitsandbytes' formats: 4-bit tables of levels (fp4, nf4), and 8-bit integers row by row."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor
from transformers import PreTrainedModel

from unlearn_lab.config.libraries import require
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
    """4 bits by a table of 16 levels times the largest weight of a block (Dettmers, 2305.14314).

    A block is `block_size` neighbours of the flattened weight, across rows. Scales stay in float32
    (no double quantization). Rounding is bitsandbytes'; its layers are not used, because on a CPU
    their first forward pass repacks the weights. `table` is fp4 or nf4. Raises `ValueError` for
    values outside these.
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
        """Both tables have 16 levels."""
        return 4

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library or block linears; every shape fits."""
        require(LIBRARY)
        block_linears(model)

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears' weights in place by rounded values of their own dtype.

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
        """The rank of each weight's level, counted from the level 0; levels are uneven."""
        require_finite(weight)
        packed, state = self._pack(weight.detach())
        halves = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], dim=1).flatten()
        levels = state.code.to(weight.device)
        distinct = levels.unique()  # fp4 has a zero of either sign
        ranks = torch.searchsorted(distinct, levels) - torch.searchsorted(
            distinct, torch.zeros_like(levels[:1])
        )
        integers = ranks[halves[: weight.numel()].long()].to(torch.int16)
        return Codes(integers=integers.reshape(weight.shape), steps=None)

    def _round(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        require_finite(weight)
        return _functional().dequantize_4bit(*self._pack(weight)).reshape(weight.shape)

    def _pack(self, weight: Float[Tensor, "out in"]) -> tuple[Tensor, Any]:
        """The codes, two to a byte, and the state that dequantizes them.

        The weight is flattened first: given rows that are no multiple of the block, the library's
        CPU kernel takes the wrong scales when it dequantizes.
        """
        return _functional().quantize_4bit(
            weight.flatten().contiguous(), blocksize=self.block_size, quant_type=self.table
        )


@dataclass(frozen=True, kw_only=True)
class BNB8:
    """8-bit integers, one scale a row, absmax / 127: the weights of LLM.int8() (2208.07339).

    Activations are left alone, so there are no outlier columns: this is not LLM.int8() itself.
    Weights pass through float16, as in bitsandbytes.
    """

    libraries: ClassVar[tuple[str, ...]] = (LIBRARY,)

    @property
    def bits(self) -> int:
        """One byte a weight."""
        return 8

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library or block linears; every shape fits."""
        require(LIBRARY)
        block_linears(model)

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears' weights in place by rounded values of their own dtype.

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
        """The int8 codes and the step of each row."""
        integers, largest = round_rows(weight)
        steps = (largest / 127)[:, None].expand(weight.shape)
        return Codes(integers=integers.to(torch.int16), steps=steps)


def round_rows(
    weight: Float[Tensor, "out in"],
) -> tuple[Int8[Tensor, "out in"], Float32[Tensor, " out"]]:
    """The int8 codes of a weight, and each row's largest magnitude, which code 127 stands for.

    Raises `ValueError` for weights that are not finite in float16.
    """
    half = weight.detach().to(torch.float16)
    require_finite(half)
    # the GPU kernel takes float16 only; on a CPU the library would also compute in float16
    given = half.float() if half.device.type == "cpu" else half
    integers, largest, _ = _functional().int8_vectorwise_quant(given)
    return integers, largest.float()


def _functional() -> ModuleType:
    """The library's functions, imported without its notice about a kernel not used here."""
    with without_notices():
        import bitsandbytes.functional as functional
    return functional
