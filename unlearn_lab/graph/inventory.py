"""What lies in a cache: artifacts as their manifests tell of them, and what processes left."""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from unlearn_lab.graph import manifest as manifests
from unlearn_lab.graph.stage import key_of

Kind = Literal["artifact", "unfinished", "claim", "lease", "trash", "copy"]
"""What an item is: an artifact, a build not finished (with its checkpoints), a process' mark
(`claim`, `lease`), something half removed (`trash`), or a half-written memo of file digests."""

_NAMES: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"[0-9a-f]{64}"), "artifact"),
    (re.compile(r"[0-9a-f]{64}\.work\.[0-9a-f]+"), "unfinished"),
    (re.compile(r"[0-9a-f]{64}\.claim"), "claim"),
    (re.compile(r"[0-9a-f]+\.lease"), "lease"),
    (re.compile(r"[0-9a-z.]+\.dead"), "trash"),
    (re.compile(r"digests\.json\.[0-9]+"), "copy"),
)
_KEY = re.compile(r"[0-9a-f]{64}")
_FRESH = 3600.0
"""Seconds for which a copy of the memo may still be being written; it takes far less."""


class File(NamedTuple):
    """A file's place on disk, its bytes, and how many names it has."""

    device: int
    inode: int
    size: int
    links: int


@dataclass(frozen=True, kw_only=True)
class Item:
    """One entry of the cache that is not followed if it is a link.

    `stage` is its folder's name, `key` the key that its name begins with (empty without one).
    `built` is when its manifest was written, or anything in it last changed (seconds since 1970).
    `description` is the stage's, None unless the key proves it; `damage` tells what is wrong with
    an artifact, by its manifest and its files' sizes.
    """

    path: Path
    stage: str
    key: str
    kind: Kind
    files: tuple[File, ...]
    built: float
    description: Mapping[str, object] | None
    damage: str | None

    @property
    def inputs(self) -> frozenset[str]:
        """The keys of the stages that this one was made from, as far as its manifest tells."""
        found = (self.description or {}).get("inputs")
        return frozenset(found.values()) if isinstance(found, Mapping) else frozenset()


def take_inventory(root: Path) -> list[Item]:
    """Every artifact and leftover below a cache's root, by stage and key.

    What is neither (another folder, a link) is left out. An item that vanishes meanwhile is
    left out as well.
    """
    found = [_item(path, root) for path in _entries(root)]
    return sorted(
        (item for item in found if item is not None), key=lambda item: (item.stage, item.path.name)
    )


def count_bytes(items: Iterable[Item]) -> int:
    """The bytes of all, each file counted once however many names it has."""
    return sum({file[:2]: file.size for item in items for file in item.files}.values())


def freed_bytes(items: Iterable[Item]) -> int:
    """The bytes that removing all of them frees: of files that have no further name elsewhere."""
    names = Counter(file for item in items for file in item.files)
    return sum(file.size for file, number in names.items() if number >= file.links)


def below(keys: Iterable[str], items: Iterable[Item]) -> set[str]:
    """These keys, and those of every stage that they were made from, at any depth."""
    inputs = {item.key: item.inputs for item in items if item.kind == "artifact"}
    reached, waiting = set[str](), list(keys)
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting += inputs.get(key, ())
    return reached


def read_files(folder: Path) -> tuple[File, ...]:
    """All files below a folder, or the file itself; links are counted and not followed."""
    return tuple(
        File(stat.st_dev, stat.st_ino, stat.st_size, stat.st_nlink) for stat in _stats(folder)
    )


def damage_of(folder: Path, *, contents: bool) -> str | None:
    """What is wrong with an artifact, in one line; None for a whole one.

    Sizes are compared with its manifest, digests as well when `contents` (reads every byte).
    """
    try:
        manifest = manifests.read_manifest(folder)
        manifests.verify(folder, manifest, contents=contents)
    except (manifests.DamagedArtifact, OSError) as error:
        return str(error)
    if not _is_of(folder, manifest.stage):
        return f"{folder} describes another stage than its key says"
    return None


def _entries(root: Path) -> Iterator[Path]:
    """The cache's folders and files at both levels; links are left alone."""
    for place in _listed(root):
        yield place
        if place.is_dir():
            yield from _listed(place)


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.is_symlink()]
    except FileNotFoundError:
        return []


def _item(path: Path, root: Path) -> Item | None:
    kind: Kind | None = next((kind for name, kind in _NAMES if name.fullmatch(path.name)), None)
    key = _KEY.match(path.name)
    if kind is None or (path.parent == root) != (kind == "copy"):
        return None
    try:
        built = _built(path)
    except FileNotFoundError:
        return None
    if kind == "copy" and time.time() - built < _FRESH:
        return None
    whole = kind == "artifact"
    return Item(
        path=path,
        stage="" if kind == "copy" else path.parent.name,
        key=key[0] if key else "",
        kind=kind,
        files=read_files(path),
        built=built,
        description=_description(path) if whole else None,
        damage=damage_of(path, contents=False) if whole else None,
    )


def _built(path: Path) -> float:
    manifest = path / manifests.FILE
    if manifest.exists():
        return manifest.stat().st_mtime
    return max((stat.st_mtime for stat in _stats(path)), default=path.stat().st_mtime)


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of every file below, as far as it is still there."""
    below = (Path(place, name) for place, _, names in os.walk(path) for name in names)
    for file in below if path.is_dir() else [path]:
        try:
            yield file.lstat()
        except FileNotFoundError:
            continue


def _description(folder: Path) -> Mapping[str, object] | None:
    """What was built, also of an artifact that is damaged elsewhere: its own key proves it."""
    try:
        found = json.loads((folder / manifests.FILE).read_text(encoding="utf-8"))["stage"]
        return found if _is_of(folder, found) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_of(folder: Path, description: Mapping[str, object]) -> bool:
    return description.get("name") == folder.parent.name and key_of(description) == folder.name
