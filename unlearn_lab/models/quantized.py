"""Decides how a checkpoint that is quantized already is loaded: with which library, into what."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from unlearn_lab.libraries import require

LIBRARIES = {
    "compressed-tensors": "compressed-tensors",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "gguf": "gguf",
}
"""The library that transformers needs for each quantization method."""


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
    require(LIBRARIES.get(method, method))
    with warnings.catch_warnings(), contextlib.redirect_stderr(StringIO()):  # progress bars
        warnings.simplefilter("ignore")  # that the config's own settings are used: as wanted
        if method == "compressed-tensors":
            from transformers import CompressedTensorsConfig

            yield {"quantization_config": CompressedTensorsConfig(dequantize=True)}
        else:
            yield {}


def split_gguf(path: str) -> tuple[str, dict[str, str]]:
    """A .gguf file as `from_pretrained` wants it: its folder, and its name as an option."""
    if not path.endswith(".gguf"):
        return path, {}
    require("gguf")
    return str(Path(path).parent), {"gguf_file": Path(path).name}
