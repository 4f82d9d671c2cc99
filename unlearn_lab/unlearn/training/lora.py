"""LoRA: trains low-rank changes of the block linears, then merges them into the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.quantized import without_notices
from unlearn_lab.unlearn.optimizers.units import compiled

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import Linear as LoraLinear
    from peft.tuners.lora import LoraModel

LIBRARY = "peft"


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Trains W + (alpha / rank) B A with W frozen (Hu et al., arXiv 2106.09685, section 4.1).

    A (`rank` x inputs) is initialised uniformly at random, B (outputs x `rank`) with zeros, so that
    training starts from the target itself. Both are stored, updated and multiplied in float32,
    whatever the dtype of W.

    Attributes:
        rank: rank of the change, at least 1.
        alpha: numerator of the scale, above 0.
        dropout: dropout probability on the input of A, at least 0 and below 1.
        modules: regular expression searched for in names of block linears; None adapts all.
    """

    rank: int
    alpha: float
    dropout: float
    modules: str | None
    libraries: ClassVar[tuple[str, ...]] = (LIBRARY,)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank={self.rank}: must be at least 1")
        if not self.alpha > 0:
            raise ValueError(f"alpha={self.alpha}: must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: must be at least 0 and below 1")
        compiled(self.modules)

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` without the library, or if no block linear matches `modules`."""
        require(LIBRARY)
        self._layers(model)

    def inject(self, model: PreTrainedModel, seed: int) -> "Adapters":
        """Adds adapters to the block linears, in place, and freezes everything else.

        Raises `ValueError` without the library, or if no block linear matches `modules`.
        """
        library, layers = require(LIBRARY), self._layers(model)
        with without_notices():
            from peft import LoraConfig, get_peft_model
        config = LoraConfig(
            r=self.rank,
            lora_alpha=cast("int", self.alpha),  # peft only ever divides it by the rank
            lora_dropout=self.dropout,
            target_modules=layers,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            wrapped = get_peft_model(model, config, autocast_adapter_dtype=True)
        return Adapters(wrapped, layers, {**vars(self), "layers": len(layers), "library": library})

    def _layers(self, model: PreTrainedModel) -> list[str]:
        names, pattern = list(block_linears(model)), compiled(self.modules)
        found = [name for name in names if pattern.search(name)]
        if not found:
            raise ValueError(
                f"modules={self.modules}: matches no name of a block linear ({names[0]} ...); "
                "give a regular expression such as mlp or q_proj|v_proj, or null"
            )
        return found


class Adapters:
    """The LoRA adapters of a model in training, until they are merged.

    Args:
        wrapped: the model with adapters.
        layers: names of the layers with an adapter.
        facts: entries for the record: settings, number of layers, library version.
    """

    def __init__(
        self, wrapped: "PeftModel", layers: Sequence[str], facts: Mapping[str, object]
    ) -> None:
        self._wrapped = wrapped
        self._layers = layers
        self._facts = facts

    @torch.no_grad()
    def merged(self, name: str, parameter: Tensor) -> tuple[str, Tensor] | None:
        """Returns name and value as after `merge`; None for the adapters' own parameters."""
        layer, _, attribute = name.rpartition(".base_layer.")
        if not layer:
            return None if ".lora_" in name else (name, parameter)
        if attribute == "weight":
            adapter = cast("LoraLinear", self._wrapped.get_base_model().get_submodule(layer))
            parameter = parameter.clone().add_(adapter.get_delta_weight("default"))
        return f"{layer}.{attribute}", parameter

    @torch.no_grad()
    def merge(self) -> dict[str, object]:
        """Merges the adapters into the weights, removes them, and returns the facts.

        The sum is computed in float32 and rounded once to the weight's dtype; peft's `safe_merge`
        would round the change first. The fact `changed` is the share (0..1) of the merged layers'
        weights whose value changed.
        """
        model = self._wrapped.get_base_model()
        storage_dtypes = {
            str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad
        }
        changed = total = 0
        for name in self._layers:
            layer = cast("LoraLinear", model.get_submodule(name))
            weight = cast("Tensor", layer.get_base_layer().weight)
            before = weight.detach().clone()
            layer.merge(safe_merge=False)
            changed += int((weight != before).sum())
            total += weight.numel()
        cast("LoraModel", self._wrapped.base_model).unload()
        return {
            "adapter": {**self._facts, "changed": changed / total},
            "adapter_weights": "+".join(sorted(storage_dtypes)),
        }
