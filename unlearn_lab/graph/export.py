"""Copies artifacts out of a cache: completely or not at all, with their provenance as JSON."""

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
"""Replaces the manifest in a copy: the stage, its key, its facts and its build time."""

_MODEL = "config.json"
_BESIDE_A_MODEL = ("steps.jsonl", "mask.safetensors")
"""The training's curves and mask. A loader that reads every `.safetensors` fails on the mask."""


def exported_files(folder: Path) -> list[Path]:
    """Returns an artifact's files without its manifest and, for a model, training curves and mask.

    Raises `DamagedArtifact` when the files do not match the manifest.
    """
    manifests.verify(folder, manifests.read_manifest(folder), contents=True)
    left_out = [manifests.FILE, *(_BESIDE_A_MODEL if (folder / _MODEL).exists() else ())]
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in left_out
    )


def copy_artifact(folder: Path, into: Path) -> None:
    """Copies an artifact's files and its provenance into the folder `into`."""
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
    """Yields a folder to fill, which is renamed to `folder` on success and removed on failure.

    Raises `ValueError` when `folder` exists and is not an empty folder.
    """
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: exists and is not empty; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    filled = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    filled.mkdir()
    try:
        yield filled
        filled.rename(folder)
    finally:
        shutil.rmtree(filled, ignore_errors=True)
