"""AWQ: scales up input channels with large activations to reduce their rounding error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

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
    other_linears,
    quietly,
    report_on,
    require_groups,
    save,
)
from unlearn_lab.quantize.grid import relative_error
from unlearn_lab.quantize.quantizer import QuantReport


@dataclass(frozen=True, kw_only=True)
class AWQ:
    """AWQ (Lin et al., arXiv 2306.00978) as implemented by llm-compressor, then round to nearest.

    Raises `ValueError` for values other than those listed.

    Attributes:
        bits: bits per weight, 2 to 8.
        group_size: inputs that share a scale, at least 1; None for one scale per row.
        symmetric: whether the grid is symmetric around 0; see `IntegerGrid`.
        duo_scaling: computes scales from weights and activations instead of activations alone.
        num_grid: number of scales tried per mapping, at least 3.
        mappings: which layers are scaled against which: mappings with `smooth_layer` and
            `balance_layers` (names, or regular expressions after `re:`); None for llm-compressor's
            mappings of the architecture.
        calibration: text on which activations are measured.
    """

    bits: int
    group_size: int | None
    symmetric: bool
    duo_scaling: bool
    num_grid: int
    mappings: Sequence[Mapping[str, Any]] | None
    calibration: Calibration
    libraries: ClassVar[tuple[str, ...]] = LIBRARIES

    def __post_init__(self) -> None:
        check_grid(self)
        if self.num_grid < 3:
            raise ValueError(f"num_grid={self.num_grid}: must be at least 3")
        for place, mapping in enumerate(self.mappings or ()):
            if set(mapping) != {"smooth_layer", "balance_layers"}:
                raise ValueError(
                    f"mappings={list(mapping)} at {place}: must be smooth_layer, balance_layers"
                )

    @property
    def rescales(self) -> bool:
        """True: input channels are scaled before weights are rounded."""
        return True

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` for a missing library, indivisible rows or unknown architectures."""
        require_groups(model, self.group_size)
        with quietly():
            from llmcompressor.modifiers.transform.awq.dynamic_mappings import (
                AWQ_DYNAMIC_MAPPING_REGISTRY,
            )
            from llmcompressor.modifiers.transform.awq.mappings import AWQ_MAPPING_REGISTRY

        known = {*AWQ_MAPPING_REGISTRY, *AWQ_DYNAMIC_MAPPING_REGISTRY}
        if self.mappings is None and type(model).__name__ not in known:
            raise ValueError(
                f"mappings=null: llm-compressor knows no AWQ mappings for {type(model).__name__}; "
                "give quant.mappings=[{smooth_layer: ..., balance_layers: [...]}, ...], or use "
                "quant=gptq4"
            )

    def compress(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sequences: Int[Tensor, "samples length"],
        folder: Path,
        device: torch.device,
    ) -> QuantReport:
        """Writes the quantized model to `folder`; arguments as in `CalibratedQuantizer`.

        Raises `ValueError` when no layer was scaled: the result would be plain round to nearest.
        """
        layers = block_linears(model)
        with quietly():
            from compressed_tensors.quantization import forward_quantize
            from llmcompressor.modifiers.quantization import QuantizationModifier

            schemes = config_groups(layers, self)
            scaling = self._scaling()
            rounding = QuantizationModifier(config_groups=schemes, ignore=other_linears(model))
            calibrate(model, tokenizer, sequences, [scaling, rounding], device)
            unscaled = [name for name in layers if name not in scaling.scaled]
            if len(unscaled) == len(layers):
                raise ValueError(
                    f"mappings: none of them fits {type(model).__name__}, so nothing was scaled "
                    "and AWQ would be plain rounding"
                )
            errors = {}
            for name, layer in layers.items():
                scaled = layer.weight.detach()
                scheme = cast("Any", layer).quantization_scheme
                rounded = forward_quantize(layer, scaled, "weight", scheme.weights)
                errors[name] = relative_error(rounded, scaled)
            save(model, tokenizer, folder)
        kernel = (
            f"AWQ from {len(sequences)} x {sequences.shape[1]} tokens, "
            f"{len(layers) - len(unscaled)} of {len(layers)} layers scaled, then round to nearest"
        )
        return report_on(self, kernel, layers, errors)

    def _scaling(self) -> Any:
        """Builds llm-compressor's modifier, extended to record the names of the scaled layers.

        llm-compressor skips some layers and only logs it: with grouped-query attention, `o_proj`
        cannot be scaled against `v_proj`.
        """
        from llmcompressor.modifiers.transform.awq import AWQMapping, AWQModifier
        from pydantic import Field

        class AWQWithFallbackNames(AWQModifier):
            scaled: list[str] = Field(default_factory=list)

            def on_finalize(self, state: Any, **kwargs: Any) -> bool:
                self.scaled = [
                    name for mapping in self._resolved_mappings for name in mapping.balance_names
                ]
                return super().on_finalize(state, **kwargs)

        mappings = None
        if self.mappings is not None:
            mappings = [
                AWQMapping(mapping["smooth_layer"], list(mapping["balance_layers"]))
                for mapping in self.mappings
            ]
        return AWQWithFallbackNames(
            mappings=mappings, duo_scaling=self.duo_scaling, n_grid=self.num_grid
        )
