"""Decides how quantized checkpoints are loaded: with which library, and to which weights."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PretrainedConfig, PreTrainedModel

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
    """Returns the quantization method in a checkpoint's config (gptq, awq, ...), None if plain."""
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    settings = found if isinstance(found, Mapping) else found.to_dict()
    return str(settings.get("quant_method", "unknown"))


@contextlib.contextmanager
def loading(method: str | None) -> Iterator[dict[str, Any]]:
    """Yields options for `from_pretrained`, and silences warnings and progress bars.

    compressed-tensors weights are dequantized on load instead of at the first forward pass. Raises
    `ValueError` as `require_method` does.
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
        warnings.simplefilter("ignore")  # the checkpoint's own settings are used, as intended
        if method == "compressed-tensors":
            from transformers import CompressedTensorsConfig

            yield {"quantization_config": CompressedTensorsConfig(dequantize=True)}
        else:
            yield {}


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Silences notices about an unused bitsandbytes CPU kernel and about dequantization."""
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
    """Returns the library that reads checkpoints of the method, with its version.

    Raises `ValueError` for a method that is not supported, and for a missing library.
    """
    if method not in LIBRARIES:
        raise ValueError(f"its format, {method}, is not supported; {SUPPORTED} are")
    return require(LIBRARIES[method])


def unpacked(model: PreTrainedModel, method: str | None) -> PreTrainedModel:
    """Dequantizes a bitsandbytes model, and makes a GGUF model castable and saveable.

    Other models are unchanged.

    Call it before the first forward pass, which on a CPU repacks bitsandbytes weights irreversibly.
    Raises `ValueError` for rows to which bitsandbytes' CPU kernel would apply wrong scales.
    """
    if method == "gguf":
        # dequantized while it was loaded; transformers casts and saves no model that says otherwise
        vars(model)["is_quantized"] = False
        for owner, name in (
            (model, "hf_quantizer"),
            (model, "quantization_method"),
            (model.config, "quantization_config"),
        ):
            vars(owner).pop(name, None)
    if method != "bitsandbytes":
        return model
    for name, layer in model.named_modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if state is not None and layer.in_features % state.blocksize and layer.weight.is_cpu:
            raise ValueError(
                f"layer {name}: rows of {layer.in_features} weights are not a multiple of "
                f"bitsandbytes' block size {state.blocksize}, and its CPU kernel misreads them"
            )
    return model.dequantize()


def split_gguf(path: str) -> tuple[str, dict[str, str]]:
    """Splits the path of a .gguf file into its folder and an option of `from_pretrained`."""
    if not path.endswith(".gguf"):
        return path, {}
    require("gguf")
    return str(Path(path).parent), {"gguf_file": Path(path).name}
