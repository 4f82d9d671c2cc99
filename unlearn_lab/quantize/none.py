"""Control quantizers: leave the model unchanged, or only cast its weights to bfloat16."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.grid import relative_error
from unlearn_lab.quantize.quantizer import QuantReport


@dataclass(frozen=True, kw_only=True)
class NoQuantizer:
    """Full-precision control: leaves the model unchanged."""

    full_precision: ClassVar[Literal[True]] = True

    @property
    def bits(self) -> None:
        """None: the weights keep their dtype."""
        return None

    def require_fit(self, model: PreTrainedModel) -> None:
        """Accepts every model."""

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Returns a report without changing the model."""
        return _report("none", bits=None, errors={})

    def codes(self, weight: Float[Tensor, "out in"]) -> None:
        """Returns None: there is no grid."""
        return None


@dataclass(frozen=True, kw_only=True)
class BF16Cast:
    """Cast of all parameters to bfloat16: the control for models trained in fp32.

    Buffers (rotary frequencies) keep their dtype, as when transformers loads a checkpoint with
    `dtype=bfloat16`.
    """

    @property
    def bits(self) -> int:
        """16: the width of bfloat16."""
        return 16

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` for a model without block linears."""
        block_linears(model)

    def quantize(self, model: PreTrainedModel) -> QuantReport:
        """Casts every parameter in place; the report lists only the block linears.

        Raises `ValueError` naming the layer when a block linear's weight is not finite in bfloat16.
        """
        before = {name: layer.weight.detach() for name, layer in block_linears(model).items()}
        errors = {name: _cast_error(name, weight) for name, weight in before.items()}
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        return _report("cast to bfloat16", bits=self.bits, errors=errors)

    def codes(self, weight: Float[Tensor, "out in"]) -> None:
        """Returns None: bfloat16 has no grid of equal steps."""
        return None


def _report(kernel: str, *, bits: int | None, errors: Mapping[str, float]) -> QuantReport:
    return QuantReport(
        library=f"torch {torch.__version__.split('+')[0]}",
        kernel=kernel,
        bits=bits,
        group=None,
        symmetric=None,
        convention=None,
        num_layers=len(errors),
        weight_error=errors,
    )


def _cast_error(name: str, weight: Float[Tensor, "out in"]) -> float:
    cast = weight.to(torch.bfloat16)
    if not torch.isfinite(cast).all():
        raise ValueError(
            f"layer {name}: some weights are not finite in bfloat16: only finite ones can be cast"
        )
    return relative_error(cast, weight)
