"""Reads what a checkpoint's small files say of it, without transformers: adapter and dtype."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from unlearn_lab.graph.content import split_revision
from unlearn_lab.graph.hub_commit import hub_commit

ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_CONFIG = "config.json"
_NAMES = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "F64": "fp64"}
"""Floating-point dtypes by safetensors' spelling."""


def adapter_settings(path: str, revision: str | None) -> dict[str, Any] | None:
    """Returns the settings of a PEFT adapter; None for anything else.

    Args:
        path: folder, file or hub name (also `NAME@REVISION`).
        revision: branch, tag or commit of a hub name; None is main.
    """
    return _settings(path, ADAPTER, revision)


def stored_dtype(path: str, revision: str | None) -> Literal["fp32", "bf16"]:
    """Returns the dtype that holds a checkpoint's weights exactly: bf16 if all of them have it.

    Of a hub name, the dtype in config.json counts; float16 needs float32.
    """
    if Path(path).is_dir():
        found = {one for file in Path(path).glob("*.safetensors") for one in dtypes_in(file)}
        return "bf16" if found == {"bf16"} else "fp32"
    config = _settings(path, _CONFIG, revision) or {}
    named = config.get("dtype", config.get("torch_dtype"))
    return "bf16" if named in ("bfloat16", "torch.bfloat16") else "fp32"


def dtypes_in(file: Path) -> frozenset[str]:
    """Returns the dtypes of the floating-point tensors in a file: fp32, bf16 and so on."""
    tensors = (entry for name, entry in _header(file).items() if name != "__metadata__")
    found = {str(entry["dtype"]) for entry in tensors}
    return frozenset(_NAMES.get(name, name) for name in found if name.startswith(("F", "BF")))


def _header(file: Path) -> Mapping[str, Any]:
    """Returns the header of a safetensors file: 8 bytes of its length, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            return json.loads(stream.read(min(length, file.stat().st_size)))
        except ValueError as error:
            raise ValueError(f"{file}: is not a safetensors file") from error


def _settings(path: str, name: str, revision: str | None) -> dict[str, Any] | None:
    if path.endswith(".gguf"):
        return None
    path, inside = split_revision(path)
    revision = inside or revision
    file = Path(path) / name if Path(path).is_dir() else _downloaded(path, name, revision)
    if file is None or not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {name} is not a JSON object") from error


@cache
def _downloaded(name: str, file: str, revision: str | None) -> Path | None:
    """Returns a hub repository's file; None if it is missing or not reachable."""
    import httpx
    from huggingface_hub import hf_hub_download

    commit = _commit(name, revision)
    if commit is None:
        return None
    try:
        return Path(hf_hub_download(name, file, revision=commit))
    except (OSError, httpx.HTTPError):
        return None


@cache
def _commit(name: str, revision: str | None) -> str | None:
    """Returns the commit of a revision, None if it is not found: planning says why."""
    try:
        return hub_commit(name, revision, "model", "method.path")
    except ValueError:
        return None
