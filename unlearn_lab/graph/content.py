"""What lies outside the cache, named by content: local files by digest, hub models by commit."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.graph.manifest import file_digest


@dataclass(frozen=True)
class Pin:
    """A model's absolute folder and the digest of its files, or its hub name and commit."""

    path: str
    revision: str | None
    digest: str | None


class ContentKey:
    """Digests of local files and folders.

    One JSON file remembers them by path, size and modification time.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, str] = {}
        if memory.exists():
            try:
                self._known = json.loads(memory.read_text())
            except ValueError:
                memory.unlink(missing_ok=True)

    def of_path(self, path: Path) -> str:
        """SHA-256 over the relative names and the bytes of all files at or below `path`."""
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
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
        return Pin(name, _hub_commit(name, revision, "model", setting), None)

    def of_dataset(
        self, name: str, revision: str | None, setting: str = "generic_text.path"
    ) -> "Pin":
        """What pins a data set: a folder's or file's digest, or the present commit of a hub name.

        Raises `ValueError`, which begins with `setting`, when it is neither on disk nor found on
        the hub or in its local cache.
        """
        if Path(name).exists():
            return Pin(str(Path(name).resolve()), None, self.of_path(Path(name)))
        return Pin(name, _hub_commit(name, revision, "dataset", setting), None)

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


def _hub_commit(name: str, revision: str | None, kind: str, setting: str) -> str:
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        found = HfApi().repo_info(name, revision=revision, repo_type=kind).sha
        if found:
            return found
    except HFValidationError as error:
        raise ValueError(
            _not_found(setting, name, "no such folder, and no valid hub name")
        ) from error
    except (
        OSError,
        httpx.HTTPError,
    ):  # offline, refused or unknown: the local cache may still have it
        pass
    try:
        found = snapshot_download(name, revision=revision, repo_type=kind, local_files_only=True)
    except OSError as error:
        reason = "not a folder, not reachable on the hub, not in its local cache"
        raise ValueError(_not_found(setting, name, reason)) from error
    return Path(found).name


def _not_found(setting: str, name: str, reason: str) -> str:
    if setting == "generic_text.path":
        return (
            f"{setting}={name}: {reason}. Give a folder of parquet, JSONL or text files, "
            "or download it where there is network: hf download --repo-type dataset "
            f"{name}; or calibrate on the corpus: quant/calibration=retain"
        )
    if setting.endswith(".data"):
        return (
            f"{setting}={name}: {reason}. Download it where there is network (hf download "
            f"--repo-type dataset {name} --local-dir FOLDER) and give that folder"
        )
    return (
        f"{setting}={name}: {reason}. Give a folder with config.json, *.safetensors and a "
        f"tokenizer, or download it where there is network: hf download {name}"
    )
