"""Copies artifacts out of a cache: whole or not at all, with what they are in a readable file."""

import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from unlearn_lab.graph import manifest as manifests

PROVENANCE = "provenance.json"
"""What stands in a copy for the manifest: the stage, its key, and what its builder reported."""

_MODEL = "config.json"
_BESIDE_A_MODEL = ("steps.jsonl", "mask.safetensors")
"""The training's curves and mask. A loader that takes every `.safetensors` would trip over one."""


def exported_files(folder: Path) -> list[Path]:
    """What of an artifact is copied: all but the manifest, of a model what is part of it.

    Raises `DamagedArtifact` for one whose files are not those of its manifest.
    """
    manifests.verify(folder, manifests.read_manifest(folder), contents=True)
    left_out = [manifests.FILE, *(_BESIDE_A_MODEL if (folder / _MODEL).exists() else ())]
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in left_out
    )


def copy_artifact(folder: Path, into: Path) -> None:
    """Copies an artifact's files into the folder `into`, with its provenance."""
    manifest = manifests.read_manifest(folder)
    for file in exported_files(folder):
        place = into / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    fields: Mapping[str, object] = {"key": folder.name, **dataclasses.asdict(manifest)}
    text = json.dumps(
        {name: fields[name] for name in ("key", "stage", "facts", "seconds")}, indent=1
    )
    (into / PROVENANCE).write_text(text, encoding="utf-8")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that gets its name when the block ends well, and vanishes otherwise.

    Raises `ValueError` when something that is no empty folder has the name already.
    """
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: is there and not empty; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    filled = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    filled.mkdir()
    try:
        yield filled
        filled.rename(folder)
    finally:
        shutil.rmtree(filled, ignore_errors=True)
