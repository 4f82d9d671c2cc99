"""Identifies what is outside the cache: local files by digest, hub repositories by commit."""

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.graph.hub_commit import Unreachable, hub_commit
from unlearn_lab.graph.manifest import file_digest
from unlearn_lab.graph.packaged import SCHEME, packaged

_log = logging.getLogger(__name__)
EVERYTHING = ("**/*",)
UNKNOWN = "unknown"
"""Stands for the commit of a hub name in a plan that was made without network."""


@dataclass(frozen=True)
class Pin:
    """A local path with the digest of its files, or a hub name with its commit.

    Attributes:
        path: absolute path, or hub name.
        revision: commit of a hub name; None for a path.
        digest: SHA-256 of a path's content; None for a hub name.
    """

    path: str
    revision: str | None
    digest: str | None


def split_revision(name: str) -> tuple[str, str | None]:
    """Splits a hub name `NAME@REVISION`; what exists on disk, or has no @, has no revision."""
    found, mark, revision = name.rpartition("@")
    return (found, revision) if mark and not Path(name).exists() else (name, None)


class ContentKey:
    """Digests of local files and folders, and commits of hub names.

    The JSON file `memory` caches digests by path, size and modification time. Each commit is looked
    up once per instance. With `lenient`, which is for plans alone, a name on a hub that cannot be
    reached gets the commit `UNKNOWN`, with a warning.
    """

    def __init__(self, memory: Path, *, lenient: bool = False) -> None:
        self._memory = memory
        self._lenient = lenient
        self._known: dict[str, str] = {}
        self._commits: dict[tuple[str, str | None, str], str] = {}
        if memory.exists():
            try:
                self._known = json.loads(memory.read_text())
            except ValueError:
                memory.unlink(missing_ok=True)

    def of_path(self, path: Path, patterns: tuple[str, ...] = EVERYTHING) -> str:
        """Returns the SHA-256 over relative names and bytes of a file, or of the files in a folder.

        Only files that match one of the glob `patterns` count, so a folder may contain others.
        """
        found = {p for pattern in patterns for p in path.glob(pattern) if p.is_file()}
        files = [path] if path.is_file() else sorted(found)
        total = hashlib.sha256()
        for file in files:
            total.update(f"{file.relative_to(path).as_posix()}\0{self._of_file(file)}\n".encode())
        self._remember()
        return total.hexdigest()

    def of_model(self, name: str, revision: str | None, setting: str = "model.path") -> "Pin":
        """Pins a local model to its digest, and a hub name and revision to the current commit.

        Raises `ValueError`, which begins with `setting`, when the name is not found on disk, on the
        hub or in its local cache.

        Args:
            name: folder, GGUF file (also `pip:PACKAGE@VERSION/FILE`) or hub name (also
                `NAME@REVISION`).
            revision: branch, tag or commit of a hub name.
            setting: config path of the model, for messages.
        """
        if name.startswith(SCHEME):
            name = str(packaged(name, setting))
        name, inside = split_revision(name)
        if inside is not None and revision not in (None, inside):
            raise ValueError(f"{setting}={name}@{inside}: the revision {revision} is given as well")
        revision = inside or revision
        if Path(name).is_dir():
            return Pin(str(Path(name).resolve()), None, self.of_path(Path(name)))
        if name.endswith(".gguf"):
            if not Path(name).is_file():
                raise ValueError(f"{setting}={name}: no such file")
            return Pin(str(Path(name).resolve()), None, self.of_path(Path(name)))
        return Pin(name, self._commit(name, revision, "model", setting), None)

    def of_dataset(
        self,
        name: str,
        revision: str | None,
        setting: str = "generic_text.path",
        patterns: tuple[str, ...] = EVERYTHING,
    ) -> "Pin":
        """Pins a local data set to its digest, and a hub name and revision to the current commit.

        Raises `ValueError`, which begins with `setting`, when the name is not found on disk, on the
        hub or in its local cache.

        Args:
            name: file, folder or hub name.
            revision: branch, tag or commit of a hub name.
            setting: config path of the data set, for messages.
            patterns: glob patterns of the files that count in a folder, as in `of_path`.
        """
        if Path(name).exists():
            return Pin(str(Path(name).resolve()), None, self.of_path(Path(name), patterns))
        return Pin(name, self._commit(name, revision, "dataset", setting), None)

    def of_file(self, file: Path) -> str:
        """Returns the SHA-256 of a file's bytes."""
        digest = self._of_file(file)
        self._remember()
        return digest

    def _commit(self, name: str, revision: str | None, kind: str, setting: str) -> str:
        asked = (name, revision, kind)
        if asked not in self._commits:
            self._commits[asked] = self._looked_up(name, revision, kind, setting)
        return self._commits[asked]

    def _looked_up(self, name: str, revision: str | None, kind: str, setting: str) -> str:
        try:
            return hub_commit(name, revision, kind, setting)
        except Unreachable:
            if not self._lenient:
                raise
            _log.warning(
                "%s=%s: the hub is not reachable; planned without its commit", setting, name
            )
            return UNKNOWN

    def _of_file(self, file: Path) -> str:
        stat = file.stat()
        name = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if name not in self._known:
            self._known[name] = file_digest(file)
        return self._known[name]

    def _remember(self) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._memory.with_name(f"{self._memory.name}.{os.getpid()}")
        fresh.write_text(json.dumps(self._known))
        fresh.rename(self._memory)
