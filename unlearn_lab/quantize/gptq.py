"""GPTQ: rounds column by column and adjusts later columns for the error of earlier ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.calibration import Calibration
from unlearn_lab.quantize.compressor import (
    LIBRARIES,
    calibrate,
    check_grid,
    config_groups,
    kept_parameters,
    other_linears,
    quietly,
    report_on,
    require_groups,
    restore,
    save,
)
from unlearn_lab.quantize.grid import relative_error
from unlearn_lab.quantize.quantizer import QuantReport


@dataclass(frozen=True, kw_only=True)
class GPTQ:
    """GPTQ (Frantar et al., arXiv 2210.17323) as implemented by llm-compressor.

    Raises `ValueError` for values other than those listed.

    Attributes:
        bits: bits per weight, 2 to 8.
        group_size: inputs that share a scale, at least 1; None for one scale per row.
        symmetric: whether the grid is symmetric around 0; see `IntegerGrid`.
        act_order: rounds columns with large activations first; each column keeps its group.
        dampening: added to the Hessian's diagonal, as a share of its mean; above 0.
        block_size: number of columns updated at once, at least 1.
        calibration: text from which the Hessian is computed.
    """

    bits: int
    group_size: int | None
    symmetric: bool
    act_order: bool
    dampening: float
    block_size: int
    calibration: Calibration
    libraries: ClassVar[tuple[str, ...]] = LIBRARIES

    def __post_init__(self) -> None:
        check_grid(self)
        if not self.dampening > 0:
            raise ValueError(f"dampening={self.dampening}: must be above 0")
        if self.block_size < 1:
            raise ValueError(f"block_size={self.block_size}: must be at least 1")

    @property
    def rescales(self) -> bool:
        """False: weights are rounded without rescaling."""
        return False

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` for a missing library or rows that the group does not divide."""
        require_groups(model, self.group_size)

    def compress(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sequences: Int[Tensor, "samples length"],
        folder: Path,
        device: torch.device,
    ) -> QuantReport:
        """Writes the quantized model to `folder`; arguments as in `CalibratedQuantizer`.

        Raises `ValueError` naming a layer whose Hessian could not be inverted: llm-compressor would
        round it to nearest and only log it.
        """
        layers = block_linears(model)
        before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
        others = kept_parameters(model)
        with quietly():
            modifier = self._modifier(model)
            calibrate(model, tokenizer, sequences, [modifier], device)
            if modifier.fallen:
                raise ValueError(
                    f"layer {modifier.fallen[0]}: its Hessian cannot be inverted, so GPTQ does not "
                    f"work there ({len(modifier.fallen)} layers in all); raise quant.dampening or "
                    "use more calibration samples"
                )
            errors = {
                name: relative_error(layer.weight.detach().to(before[name]), before[name])
                for name, layer in layers.items()
            }
            restore(model, others)
            save(model, tokenizer, folder)
        kernel = f"GPTQ, Hessian of {len(sequences)} x {sequences.shape[1]} tokens"
        return report_on(self, kernel, layers, errors)

    def _modifier(self, model: PreTrainedModel) -> Any:
        """Builds llm-compressor's modifier, extended to record layers rounded to nearest."""
        from llmcompressor.core import State
        from llmcompressor.modifiers.gptq import GPTQModifier
        from pydantic import Field

        class GPTQWithFallbackNames(GPTQModifier):
            fallen: list[str] = Field(default_factory=list)

            def on_finalize(self, state: State, **kwargs: Any) -> bool:
                self.fallen = list(self._rtn_fallback_module_names)
                return super().on_finalize(state, **kwargs)

        return GPTQWithFallbackNames(
            config_groups=config_groups(block_linears(model), self),
            ignore=other_linears(model),
            block_size=self.block_size,
            dampening_frac=self.dampening,
            actorder="static" if self.act_order else None,  # pyright: ignore[reportArgumentType]
        )
