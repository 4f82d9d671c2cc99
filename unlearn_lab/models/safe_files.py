"""Refuses checkpoints with weights that are not in their own safetensors files."""

import json
from pathlib import Path, PurePosixPath

from transformers.utils.hub import cached_file

from unlearn_lab.graph.hub_commit import is_commit

_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_ADAPTER = "adapter_config.json"


def require_safetensors(path: str, revision: str | None) -> None:
    """Raises `ValueError` if a checkpoint's index names other files, or if it has an adapter.

    transformers reads any file that an index names, and applies an adapter to the weights in the
    same folder or to those of another model that it names. `path` is a folder or hub name.
    """
    index = file_of(path, _INDEX, revision)
    if index is not None:
        require_own_shards(index)
    if file_of(path, _ADAPTER, revision) is not None:
        raise ValueError(
            f"contains an adapter, {_ADAPTER}: merge it into its model (PEFT's merge_and_unload()) "
            "and give the result, or remove it"
        )


def weight_files(path: str, revision: str | None) -> list[Path]:
    """Returns the existing safetensors files: those of the index, else the single file."""
    index = file_of(path, _INDEX, revision)
    names = [_WHOLE] if index is None else sorted(set(require_own_shards(index).values()))
    found = [file_of(path, name, revision) for name in names]
    return [file for file in found if file is not None]


def require_own_shards(index: Path) -> dict[str, str]:
    """Returns the file name of each tensor from an index.

    Raises `ValueError` for files other than safetensors in the same folder, and for an unreadable
    index.
    """
    try:
        named = dict[str, str](json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{index.name} is not a safetensors index") from error
    for file in sorted({str(file) for file in named.values()}):
        if not file.endswith(".safetensors") or file != PurePosixPath(file).name or "\\" in file:
            raise ValueError(
                f"{index.name} names the file {file}; weights are read from *.safetensors in the "
                "same folder only"
            )
    return named


def file_of(path: str, name: str, revision: str | None) -> Path | None:
    """Returns the local path of a checkpoint's file; None if it is missing or not reachable.

    Args:
        path: folder or hub name.
        name: file name.
        revision: branch, tag or commit; None is main.
    """
    if Path(path).is_dir():
        found = Path(path) / name
        return found if found.is_file() else None
    kept = cached_file(
        path,
        name,
        revision=revision or "main",
        _commit_hash=revision if revision and is_commit(revision) else None,  # one request
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if kept is None else Path(kept)
