"""What a quantizer is: a rule that rounds the block linears' weights and says what really ran."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class QuantReport:
    """What a quantizer did: the kernel that ran, the layers it touched and the error of each."""

    kernel: str
    num_layers: int
    weight_error: Mapping[str, float]
    """||Q(w) - w|| / ||w|| by layer name (Frobenius norm)."""


@dataclass(frozen=True)
class Codes:
    """A weight on its grid: integer codes, and the step that each of them is multiplied with."""

    integers: Int[Tensor, "out in"]
    steps: Float[Tensor, "out in"]


@runtime_checkable
class Quantizer(Protocol):
    """A rule that rounds weights."""

    persists: ClassVar[bool]
    needs_calibration: ClassVar[bool]

    @property
    def bits(self) -> int | None:
        """Bits a weight, or None for full precision."""
        ...

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` when the model's shapes cannot be quantized so; reads no weight."""
        ...

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Replaces the weights of the block linears in place by their rounded values."""
        ...

    def codes(self, weight: Float[Tensor, "out in"]) -> Codes | None:
        """The integer codes, for code-flip analysis; None where there is no grid."""
        ...
