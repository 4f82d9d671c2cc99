"""The manifest: the file that makes a folder an artifact and tells whether it is still whole."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = "manifest.json"
_REMOVED = ".nfs"
"""How the name begins under which NFS keeps a removed file as long as it is open somewhere."""


class DamagedArtifact(Exception):
    """An artifact is not what its manifest says; the message names the file and the difference."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was built, from what, and how.

    `stage` is the stage's description, `files` maps relative paths to size (bytes) and SHA-256,
    `facts` is whatever the builder reports about what really ran (not part of the key).
    """

    stage: Mapping[str, object]
    files: Mapping[str, Mapping[str, object]]
    facts: Mapping[str, object]
    seconds: float


def describe_files(folder: Path) -> dict[str, dict[str, object]]:
    """Size and SHA-256 of every file below `folder`, by relative POSIX path, in sorted order.

    Files that are removed already, and only shown by NFS until they are closed, do not count.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path != folder / FILE and not path.name.startswith(_REMOVED)
    )
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": file_digest(path),
        }
        for path in paths
    }


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest into `folder`, with its own digest, and waits until it is on disk."""
    body = {
        "stage": manifest.stage,
        "files": manifest.files,
        "facts": manifest.facts,
        "seconds": round(manifest.seconds, 3),
    }
    text = json.dumps({**body, "digest": _digest(body)}, indent=1, sort_keys=True)
    with (folder / FILE).open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`; raises `DamagedArtifact` when it is unreadable or was edited."""
    try:
        body = json.loads((folder / FILE).read_text(encoding="utf-8"))
        digest = body.pop("digest")
        manifest = Manifest(**body)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArtifact(f"{folder / FILE} cannot be read: {error}") from error
    if digest != _digest(body):
        raise DamagedArtifact(f"{folder / FILE} was edited: its digest does not match its content")
    return manifest


def verify(folder: Path, manifest: Manifest, *, contents: bool) -> None:
    """Compares the files with the manifest: sizes always, digests too when `contents`.

    Raises `DamagedArtifact` for the first file that is missing or differs.
    """
    for name, fact in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise DamagedArtifact(f"{path} is missing")
        if path.stat().st_size != fact["size"]:
            raise DamagedArtifact(f"{path} has {path.stat().st_size} bytes, not {fact['size']}")
        if contents and file_digest(path) != fact["sha256"]:
            raise DamagedArtifact(f"{path} was changed: its SHA-256 does not match the manifest")


def _digest(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
