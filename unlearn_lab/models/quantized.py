"""Decides how a checkpoint that is quantized already is loaded: with which library, into what."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from unlearn_lab.config.libraries import require

SUPPORTED = "compressed-tensors, gptq, awq, bitsandbytes and GGUF files"
LIBRARIES = {
    "compressed-tensors": "compressed-tensors",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "gguf": "gguf",
}
"""The library that transformers needs for each quantization method."""
_NOTICES = ("bitsandbytes", "transformers.integrations.bitsandbytes")


def quant_method(config: PretrainedConfig) -> str | None:
    """The method that a checkpoint's config names (gptq, awq, ...); None for a plain one."""
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    settings = found if isinstance(found, Mapping) else found.to_dict()
    return str(settings.get("quant_method", "unknown"))


@contextlib.contextmanager
def loading(method: str | None) -> Iterator[dict[str, Any]]:
    """Options for `from_pretrained`, and the quiet to use them in.

    Weights of compressed-tensors become plain ones at once, instead of at the first forward pass.
    Raises `ValueError` without the library that the method needs.
    """
    if method is None:
        yield {}
        return
    require_method(method)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(StringIO()),  # progress bars
        without_notices(),
    ):
        warnings.simplefilter("ignore")  # that the config's own settings are used: as wanted
        if method == "compressed-tensors":
            from transformers import CompressedTensorsConfig

            yield {"quantization_config": CompressedTensorsConfig(dequantize=True)}
        else:
            yield {}


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Silences what is said of a CPU kernel that is not used here, and of dequantizing as such."""
    loggers = [logging.getLogger(name) for name in _NOTICES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def require_method(method: str) -> str:
    """The library that reads checkpoints of the method, with its version.

    Raises `ValueError` for a method that cannot be turned into ordinary weights, and for a library
    that is missing.
    """
    if method not in LIBRARIES:
        raise ValueError(f"its format, {method}, is not read here: {SUPPORTED} are")
    return require(LIBRARIES[method])


def unpacked(model: PreTrainedModel, method: str | None) -> PreTrainedModel:
    """The model with ordinary weights, as compressed-tensors and GGUF have them already.

    A bitsandbytes model must not have run yet: on a CPU the first forward pass repacks the weights,
    and then they cannot be told any more. Raises `ValueError` for rows whose scales the CPU kernel
    would mix up.
    """
    if method == "gguf":
        vars(model)["is_quantized"] = False  # else it refuses to be cast
    if method != "bitsandbytes":
        return model
    for name, layer in model.named_modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if state is not None and layer.in_features % state.blocksize and layer.weight.is_cpu:
            raise ValueError(
                f"layer {name}: its rows of {layer.in_features} weights are no multiple of "
                f"bitsandbytes' block of {state.blocksize}, which is then read wrongly on a CPU"
            )
    return model.dequantize()


def split_gguf(path: str) -> tuple[str, dict[str, str]]:
    """A .gguf file as `from_pretrained` wants it: its folder, and its name as an option."""
    if not path.endswith(".gguf"):
        return path, {}
    require("gguf")
    return str(Path(path).parent), {"gguf_file": Path(path).name}
