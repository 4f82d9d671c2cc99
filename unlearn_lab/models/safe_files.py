"""Refuses checkpoints whose weights would be read from elsewhere than safetensors among them."""

import json
from pathlib import Path, PurePosixPath

from transformers.utils.hub import cached_file

from unlearn_lab.graph.hub_commit import is_commit

_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_ADAPTER = "adapter_config.json"


def require_safetensors(path: str, revision: str | None) -> None:
    """Looks at what a checkpoint (a folder or hub name) says of where its weights lie.

    `transformers` follows an index to any file, and lays an adapter over the weights beside it, or
    over those of a model that it names. Raises `ValueError` for both.
    """
    index = file_of(path, _INDEX, revision)
    if index is not None:
        require_own_shards(index)
    if file_of(path, _ADAPTER, revision) is not None:
        raise ValueError(
            f"holds an adapter, {_ADAPTER}: merge it into its model (PEFT's merge_and_unload()) "
            "and give the result, or remove it"
        )


def weight_files(path: str, revision: str | None) -> list[Path]:
    """The safetensors files of a checkpoint: by its index, else the one whole file; may be none."""
    index = file_of(path, _INDEX, revision)
    names = [_WHOLE] if index is None else sorted(set(require_own_shards(index).values()))
    found = [file_of(path, name, revision) for name in names]
    return [file for file in found if file is not None]


def require_own_shards(index: Path) -> dict[str, str]:
    """The file of each tensor by the index, all of them safetensors beside it.

    Raises `ValueError` for any other file, and for an index that cannot be read.
    """
    try:
        named = dict[str, str](json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{index.name} is no index of safetensors") from error
    for file in sorted({str(file) for file in named.values()}):
        if not file.endswith(".safetensors") or file != PurePosixPath(file).name or "\\" in file:
            raise ValueError(
                f"{index.name} names the file {file}; weights are read from *.safetensors in the "
                "same folder only"
            )
    return named


def file_of(path: str, name: str, revision: str | None) -> Path | None:
    """A file of the checkpoint; None where it has none of that name, or none can be had."""
    if Path(path).is_dir():
        found = Path(path) / name
        return found if found.is_file() else None
    kept = cached_file(
        path,
        name,
        revision=revision or "main",
        _commit_hash=revision if revision and is_commit(revision) else None,  # then asked once
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if kept is None else Path(kept)
