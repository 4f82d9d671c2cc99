"""What lies outside the cache, named by content: local files by digest, hub models by commit."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.graph.hub_commit import hub_commit
from unlearn_lab.graph.manifest import file_digest

EVERYTHING = ("**/*",)


@dataclass(frozen=True)
class Pin:
    """A model's absolute folder and the digest of its files, or its hub name and commit."""

    path: str
    revision: str | None
    digest: str | None


class ContentKey:
    """Digests of local files and folders, and the commits of hub names.

    One JSON file remembers digests by path, size and modification time. Commits are asked for once.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, str] = {}
        self._commits: dict[tuple[str, str | None, str], str] = {}
        if memory.exists():
            try:
                self._known = json.loads(memory.read_text())
            except ValueError:
                memory.unlink(missing_ok=True)

    def of_path(self, path: Path, patterns: tuple[str, ...] = EVERYTHING) -> str:
        """SHA-256 over relative names and bytes: of a file, or of those below a folder.

        Only files that one of the glob `patterns` finds count, so that a folder may hold others.
        """
        found = {p for pattern in patterns for p in path.glob(pattern) if p.is_file()}
        files = [path] if path.is_file() else sorted(found)
        total = hashlib.sha256()
        for file in files:
            total.update(f"{file.relative_to(path).as_posix()}\0{self._of_file(file)}\n".encode())
        self._remember()
        return total.hexdigest()

    def of_model(self, name: str, revision: str | None, setting: str = "model.path") -> "Pin":
        """What pins a model: a folder's digest, or the present commit of a hub name and revision.

        Raises `ValueError`, which begins with `setting`, when the name is neither a folder nor
        found on the hub or in its local cache.
        """
        if Path(name).is_dir():
            return Pin(str(Path(name).resolve()), None, self.of_path(Path(name)))
        if name.endswith(".gguf") and Path(name).is_file():
            return Pin(str(Path(name).resolve()), None, self.of_path(Path(name)))
        return Pin(name, self._commit(name, revision, "model", setting), None)

    def of_dataset(
        self,
        name: str,
        revision: str | None,
        setting: str = "generic_text.path",
        patterns: tuple[str, ...] = EVERYTHING,
    ) -> "Pin":
        """What pins a data set: a folder's or file's digest, or the present commit of a hub name.

        Of a folder only what the `patterns` find counts, as in `of_path`.

        Raises `ValueError`, which begins with `setting`, when it is neither on disk nor found on
        the hub or in its local cache.
        """
        if Path(name).exists():
            return Pin(str(Path(name).resolve()), None, self.of_path(Path(name), patterns))
        return Pin(name, self._commit(name, revision, "dataset", setting), None)

    def _commit(self, name: str, revision: str | None, kind: str, setting: str) -> str:
        asked = (name, revision, kind)
        if asked not in self._commits:
            self._commits[asked] = hub_commit(name, revision, kind, setting)
        return self._commits[asked]

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
