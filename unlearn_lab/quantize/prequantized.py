"""Checkpoints quantized by other tools, evaluated without further rounding."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig

from unlearn_lab.data.typed import PretrainedConfig, PreTrainedModel
from unlearn_lab.models.architecture import difference
from unlearn_lab.models.quantized import quant_method, require_method, split_gguf
from unlearn_lab.plan.protocols import Outside
from unlearn_lab.quantize.formats.packed import tensor_names
from unlearn_lab.quantize.quantizer import QuantReport

_WHO = ("unlearned", "target", "retrain")
_QUANTIZED = re.compile(r"(.+)\.(weight_scale|qweight|SCB|weight\.quant_state\.bitsandbytes__\w+)$")
"""Tensor names of quantized layers in the supported formats; group 1 is the layer's name."""


@dataclass(frozen=True, kw_only=True)
class Prequantized:
    """Quantized checkpoints, each a folder, .gguf file or hub name.

    The formats are those of `models.quantized`, all dequantized exactly to plain weights. Figures
    that need a missing control are not reported. Full-precision scores come from the run's method
    and model, as with every quantizer.

    Attributes:
        unlearned: the quantized unlearned model.
        target: the quantized target, None if there is none.
        retrain: the quantized retrain control, None if there is none.
    """

    unlearned: str
    target: str | None
    retrain: str | None
    libraries: ClassVar[tuple[str, ...]] = (
        "compressed-tensors",
        "llmcompressor",
        "bitsandbytes",
        "gguf",
        "gptqmodel",
    )

    @property
    def given(self) -> dict[str, str | None]:
        """The field name of each configured checkpoint, by role; None for the others."""
        return {who: who if getattr(self, who) is not None else None for who in _WHO}

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The configured checkpoints."""
        return tuple(
            Outside(kind="model", place=getattr(self, who), setting=who)
            for who in _WHO
            if getattr(self, who) is not None
        )

    @property
    def bits(self) -> None:
        """None: unknown before the checkpoint is read."""
        return None

    def require_fit(self, model: PreTrainedModel) -> None:
        """Raises `ValueError` for a checkpoint that is missing, unquantized or of another model.

        Another model is one whose architecture or sizes differ from those of `model`.
        """
        for name in _WHO:
            path = getattr(self, name)
            if path is None:
                continue
            config = _config(path, None)
            describe(path, None)
            by_name = not path.endswith(".gguf")
            found = difference(model.config, config, compare_type=by_name)
            if found is not None:
                raise ValueError(
                    f"{name}={path}: {found}; give the quantized form of the same model"
                )

    def codes(self, weight: Float[Tensor, "out in"]) -> None:
        """Returns None: the grid is unknown."""
        return None


def describe(path: str, revision: str | None) -> QuantReport:
    """Builds a report from the checkpoint's config.

    Raises `ValueError` when it cannot be read, is not quantized, or its library is missing.
    """
    config, method = _config(path, revision), method_of(path, revision)
    if method is None:
        raise ValueError(
            f"{path}: is not quantized (its config.json has no quantization_config); use "
            "model.path for a model in full precision"
        )
    try:
        library = require_method(method)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    settings = _settings(config)
    group = settings.get("group_size")
    return QuantReport(
        library=library,
        kernel=f"{method} checkpoint, as it was found"
        + (", held in float32" if method == "gguf" else ""),
        bits=_bits(settings),
        group=f"{group} inputs" if isinstance(group, int) and group > 0 else None,
        symmetric=settings.get("sym", settings.get("symmetric")),
        convention=None,
        num_layers=None,
        weight_error={},
    )


def method_of(path: str, revision: str | None) -> str | None:
    """Returns the quantization method of a checkpoint; None if it is not quantized."""
    return "gguf" if path.endswith(".gguf") else quant_method(_config(path, revision))


def count_quantized(checkpoint: Path) -> int:
    """Counts the quantized layers in a folder or .gguf file.

    Raises `ValueError` if there are none.
    """
    if checkpoint.suffix == ".gguf":
        from gguf import GGMLQuantizationType, GGUFReader

        plain = {GGMLQuantizationType[name] for name in ("F32", "F16", "BF16")}
        tensors = GGUFReader(checkpoint).tensors
        found = {tensor.name for tensor in tensors if tensor.tensor_type not in plain}
    else:
        names = [name for file in checkpoint.glob("*.safetensors") for name in tensor_names(file)]
        found = {match[1] for name in names if (match := _QUANTIZED.match(name))}
    if not found:
        raise ValueError(f"{checkpoint}: no layer in it is quantized")
    return len(found)


def _bits(settings: Mapping[str, Any]) -> int | None:
    """Returns the bit width, under any of the formats' names for it."""
    flags = {"load_in_4bit": 4, "load_in_8bit": 8}
    named = [width for flag, width in flags.items() if settings.get(flag)]
    found = settings.get("bits", settings.get("num_bits", named[0] if named else None))
    return found if isinstance(found, int) else None


def _settings(config: PretrainedConfig) -> Mapping[str, Any]:
    """Returns the quantization settings in the config; of several groups, those of the first."""
    found = getattr(config, "quantization_config", None) or {}
    settings = dict(found if isinstance(found, Mapping) else found.to_dict())
    for group in (settings.get("config_groups") or {}).values():
        return {**settings, **(group.get("weights") or {})}
    return settings


def _config(path: str, revision: str | None) -> PretrainedConfig:
    folder, file = split_gguf(path)
    if path.endswith(".gguf") and not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return AutoConfig.from_pretrained(
            folder, revision=revision or "main", trust_remote_code=False, **file
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: cannot be read as a checkpoint ({reason})") from error
