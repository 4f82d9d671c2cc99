"""GGUF formats q4_0 and q8_0 (llama.cpp): blocks of 32 weights with one float16 scale."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.grid import decode
from unlearn_lab.quantize.in_place import require_finite, round_layers
from unlearn_lab.quantize.quantizer import Codes, QuantReport

LIBRARY = "gguf"
FORMATS = {"q4_0": 4, "q8_0": 8}
BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class GGUF:
    """Rounds weights to the values of a .gguf file, with the `gguf` package.

    `q4_0`: the step is the weight of largest magnitude divided by -8, levels are -8 .. 7 times the
    step, so this weight is kept and one of opposite sign may fall short by up to one step. `q8_0`:
    the step is absmax / 127. Scales are float16 in both. The whole model is float32 afterwards,
    because bfloat16 cannot represent the rounded weights. Raises `ValueError` for another `format`.
    """

    format: str
    libraries: ClassVar[tuple[str, ...]] = (LIBRARY,)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r}: must be one of {', '.join(FORMATS)}")

    @property
    def bits(self) -> int:
        """Bits per code; the scale adds half a bit per weight."""
        return FORMATS[self.format]

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library, or if rows are not multiples of 32 weights."""
        require(LIBRARY)
        for name, layer in block_linears(model).items():
            if layer.in_features % BLOCK:
                raise ValueError(
                    f"format={self.format}: layer {name} has {layer.in_features} input features, "
                    f"and GGUF's blocks want a multiple of {BLOCK}; choose quant=rtn{self.bits}"
                )

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the block linears' weights in place and casts the whole model to float32.

        Raises `ValueError` naming the layer when a weight or a scale is not finite.
        """
        model.float()
        errors = round_layers(model, lambda weight: decode(self.codes(weight), weight.dtype))
        return QuantReport(
            library=require(LIBRARY),
            kernel=f"GGUF {self.format} rounding, dequantized to float32",
            bits=self.bits,
            group=f"{BLOCK} inputs",
            symmetric=self.format == "q8_0",
            convention="largest / -8" if self.format == "q4_0" else "absmax",
            num_layers=len(errors),
            weight_error=errors,
        )

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes:
        """Returns codes and non-negative steps: `integers * steps` is the rounded weight."""
        require_finite(weight)
        values = weight.detach().to("cpu", torch.float32).numpy()
        with np.errstate(all="ignore"):
            integers, steps = _unpack(pack(values, self.format), self.format)
        if not np.isfinite(steps).all():
            raise ValueError("a block's scale does not fit float16: its weights are too large")
        integers = np.where(steps > 0, integers, np.where(steps < 0, -integers, 0))
        shape = weight.shape
        return Codes(
            integers=torch.from_numpy(integers.astype(np.int16)).reshape(shape).to(weight.device),
            steps=torch.from_numpy(np.broadcast_to(np.abs(steps), integers.shape).copy())
            .reshape(shape)
            .to(weight.device),
        )


def tensor_type(name: str) -> Any:
    """Returns the `gguf` package's tensor type of a format."""
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[name.upper()]


def pack(values: Float[np.ndarray, "out in"], name: str) -> np.ndarray:
    """Returns the weight's blocks as stored in the file (uint8), row by row."""
    from gguf.quants import quantize

    return quantize(values, tensor_type(name))


def _unpack(packed: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns codes and step of each block, stored as two bytes of scale, then the codes."""
    from gguf import GGML_QUANT_SIZES

    blocks = packed.reshape(-1, GGML_QUANT_SIZES[tensor_type(name)][1])
    steps = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    codes = blocks[:, 2:]
    if name == "q8_0":
        return codes.copy().view(np.int8).astype(np.int32), steps
    # low nibbles contain the first 16 weights of a block, high nibbles the others
    halves = np.concatenate([codes & 15, codes >> 4], axis=1)
    return halves.astype(np.int32) - 8, steps
