"""Loads all checkpoints: safetensors only, remote code only if configured, one-line errors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from unlearn_lab.data.typed import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.graph.hub_commit import gated, is_gated
from unlearn_lab.models import tokenizer as tokenizers
from unlearn_lab.models.complete import (
    Incomplete,
    require_complete,
    require_finite,
    tensor_files,
    without_load_report,
)
from unlearn_lab.models.quantized import loading, quant_method, split_gguf, unpacked
from unlearn_lab.models.safe_files import require_safetensors
from unlearn_lab.models.source import POINTER, Source

TOKENIZER = "tokenizer.json"
"""A tokenizer that lies beside a pointer is that of the checkpoint; reading one of a .gguf file
takes seconds."""


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""The dtype of the weights for each value of `trainer.weights`."""


def load_model(folder: Path, weights: str) -> PreTrainedModel:
    """Loads the model in `folder` (a checkpoint, or a pointer to one).

    Weights are cast to `DTYPES[weights]`, except those of a .gguf file, which only float32
    represents exactly. A quantized checkpoint needs the library of its format; compressed-tensors,
    bitsandbytes and GGUF are dequantized. Raises `ValueError` if the checkpoint cannot be found,
    has no safetensors, or its library is missing, and `Incomplete` if weights are missing,
    unexpected or of another shape.
    """
    return _load(folder, weights, {})


def inspect(folder: Path) -> None:
    """Checks the checkpoint of `folder` against its configuration, weight by weight.

    Reads one tensor at a time into memory. Skips quantized checkpoints, which can only be checked
    when loaded. Raises `ValueError` as `load_model` does, and `Incomplete` also for weights that
    are NaN or infinite.
    """
    path, options = _resolve(folder)
    if "gguf_file" in options or quant_method(_config(path, options)) is not None:
        return
    _load(folder, "fp32", {"device_map": "meta"})
    require_finite(tensor_files(path, options["revision"]), path)


def _load(folder: Path, weights: str, where: Mapping[str, str]) -> PreTrainedModel:
    path, options = _resolve(folder)
    config = _config(path, options)
    try:
        method = "gguf" if "gguf_file" in options else quant_method(config)
        dtype = torch.float32 if method == "gguf" else DTYPES[weights]
        require_safetensors(path, options["revision"])
        with loading(method) as further, without_load_report():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=dtype,
                use_safetensors=method != "gguf",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
                **options,
                **_attention(config),
                **further,
                **where,
            )
        model, report = loaded
        stored = tensor_files(path, options["revision"]) if method is None else {}
        require_complete(model, report, path, stored)
        _make_saveable(model)
        return unpacked(model, method)
    except Incomplete:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(_missing(path, error)) from error


def load_skeleton(folder: Path) -> PreTrainedModel:
    """Returns the model on the meta device, without weights, for checks of shapes."""
    path, options = _resolve(folder)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            _config(path, options), trust_remote_code=options["trust_remote_code"]
        )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of `folder` (see `tokenizer.load`); raises `ValueError` if it cannot."""
    return _tokenizer(*_resolve_tokenizer(folder))


def tokenizer_of(source: Source) -> PreTrainedTokenizerBase:
    """Loads the tokenizer that lies beside a checkpoint's weights; errors as `load_tokenizer`."""
    return _tokenizer(*_place(source, source.path, source.revision))


def _tokenizer(path: str, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    try:
        return tokenizers.load(path, options)
    except (OSError, ValueError) as error:
        raise ValueError(_missing(path, error)) from error


def _source(folder: Path) -> Source | None:
    pointer = folder / POINTER
    if not pointer.exists():
        return None
    return Source(**json.loads(pointer.read_text(encoding="utf-8")))


def _resolve(folder: Path) -> tuple[str, dict[str, Any]]:
    source = _source(folder)
    if source is None:
        return _plain(folder)
    return _place(source, source.path, source.revision)


def _plain(folder: Path) -> tuple[str, dict[str, Any]]:
    return str(folder), {"revision": None, "trust_remote_code": False}  # never prompts


def _resolve_tokenizer(folder: Path) -> tuple[str, dict[str, Any]]:
    source = _source(folder)
    if source is None or (folder / TOKENIZER).exists():
        return _plain(folder)
    if source.tokenizer is None:
        return _resolve(folder)
    return _place(source, source.tokenizer, source.tokenizer_revision)


def _place(source: Source, path: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    name, file = split_gguf(path)
    return name, {
        "revision": revision or "main",
        "trust_remote_code": source.trust_remote_code,
        **file,
    }


def _config(path: str, options: Mapping[str, Any]) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(path, **options)
    except (OSError, ValueError) as error:
        raise ValueError(_missing(path, error)) from error


def _attention(config: PretrainedConfig) -> dict[str, str]:
    """Selects eager attention for Gemma 2; the default, SDPA, omits its soft cap on scores."""
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    return {"attn_implementation": "eager"} if capped else {}


def _make_saveable(model: PreTrainedModel) -> None:
    """Reduces generation settings that transformers refuses to save to their special tokens.

    Many checkpoints set a temperature without `do_sample`; their sampling settings are not used.
    """
    found = model.generation_config
    try:
        found.validate(strict=True)
    except ValueError:
        model.generation_config = GenerationConfig(
            bos_token_id=found.bos_token_id,
            eos_token_id=found.eos_token_id,
            pad_token_id=found.pad_token_id,
        )


def _missing(path: str, error: Exception) -> str:
    if is_gated(error):
        return gated("model.path", path, "model")
    reason = " ".join(str(error).split())[:300]
    return (
        f"model.path={path}: cannot be loaded ({reason}). Give a folder that holds config.json, "
        "*.safetensors and a tokenizer, or a hub name that is in the local cache or reachable "
        "(hf download NAME on a machine with network)"
    )
