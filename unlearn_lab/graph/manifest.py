"""Manifests: the file that makes a folder an artifact and shows whether it is complete."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = "manifest.json"
_REMOVED = ".nfs"
"""Prefix of the names that NFS gives to removed files that are still open."""


class DamagedArtifact(Exception):
    """An artifact does not match its manifest; the message names the file and the difference."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was built, from what, and how.

    Attributes:
        stage: the stage's description.
        files: size (bytes) and SHA-256 by relative path.
        facts: what the builder reported about its run; not part of the key.
        seconds: build time.
    """

    stage: Mapping[str, object]
    files: Mapping[str, Mapping[str, object]]
    facts: Mapping[str, object]
    seconds: float


def describe_files(folder: Path) -> dict[str, dict[str, object]]:
    """Returns size and SHA-256 of every file in `folder`, by relative POSIX path, sorted.

    Removed files that NFS still lists until they are closed are left out.
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
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, with its own digest, into `folder` and syncs it to disk."""
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
    """Returns the manifest of `folder`; raises `DamagedArtifact` if unreadable or edited."""
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
    """Compares an artifact's files with its manifest.

    Raises `DamagedArtifact` for the first file that is missing or differs.

    Args:
        folder: the artifact's folder.
        manifest: its manifest.
        contents: whether to compare digests (reads every byte) as well as sizes.
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
