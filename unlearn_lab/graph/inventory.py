"""Lists what a cache contains: artifacts, by their manifests, and leftovers of processes."""

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
"""Kinds of items: an artifact, an unfinished build (with its checkpoints), a mark of a process
(`claim`, `lease`), a partly removed item (`trash`), a partly written file of digests (`copy`)."""

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
"""Seconds until a `copy` counts as abandoned; writing it takes far less."""


class File(NamedTuple):
    """Identity and size of a file.

    Attributes:
        device: number of its device.
        inode: number of its inode.
        size: bytes.
        links: number of its hard links.
    """

    device: int
    inode: int
    size: int
    links: int


@dataclass(frozen=True, kw_only=True)
class Item:
    """One entry of a cache.

    Attributes:
        path: place on disk.
        stage: name of its folder, which is the stage's; empty for a `copy`.
        key: the key that its name begins with; empty if there is none.
        kind: kind of entry.
        files: the files in it.
        built: when its manifest was written, else when anything in it last changed (seconds since
            1970).
        description: the stage's description; None unless its hash is the key.
        damage: what is wrong with an artifact, by its manifest and file sizes; None if nothing.
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
        """Keys of the stage's inputs, as far as its manifest is readable."""
        found = (self.description or {}).get("inputs")
        return frozenset(found.values()) if isinstance(found, Mapping) else frozenset()


def take_inventory(root: Path) -> list[Item]:
    """Returns every artifact and leftover in a cache, sorted by stage and key.

    Other folders and symbolic links are left out, and so are items that vanish meanwhile.
    """
    found = [_item(path, root) for path in _entries(root)]
    return sorted(
        (item for item in found if item is not None), key=lambda item: (item.stage, item.path.name)
    )


def count_bytes(items: Iterable[Item]) -> int:
    """Counts the bytes of items, each file once however many hard links it has."""
    return sum({file[:2]: file.size for item in items for file in item.files}.values())


def freed_bytes(items: Iterable[Item]) -> int:
    """Counts the bytes freed by removing all items: files with links elsewhere do not count."""
    names = Counter(file for item in items for file in item.files)
    return sum(file.size for file, number in names.items() if number >= file.links)


def below(keys: Iterable[str], items: Iterable[Item]) -> set[str]:
    """Returns these keys and those of all stages upstream of them."""
    inputs = {item.key: item.inputs for item in items if item.kind == "artifact"}
    reached, waiting = set[str](), list(keys)
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting += inputs.get(key, ())
    return reached


def read_files(folder: Path) -> tuple[File, ...]:
    """Returns all files in a folder, or the file itself; symbolic links are not followed."""
    return tuple(
        File(stat.st_dev, stat.st_ino, stat.st_size, stat.st_nlink) for stat in _stats(folder)
    )


def damage_of(folder: Path, *, contents: bool) -> str | None:
    """Returns what is wrong with an artifact, in one line; None for a complete one.

    Compares sizes with the manifest and, with `contents`, digests (reads every byte).
    """
    try:
        manifest = manifests.read_manifest(folder)
        manifests.verify(folder, manifest, contents=contents)
    except (manifests.DamagedArtifact, OSError) as error:
        return str(error)
    if not _is_of(folder, manifest.stage):
        return f"{folder} has the manifest of another stage"
    return None


def _entries(root: Path) -> Iterator[Path]:
    """Yields the entries on both levels of a cache, symbolic links excluded."""
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
    """Yields the status of every file in a folder that still exists."""
    below = (Path(place, name) for place, _, names in os.walk(path) for name in names)
    for file in below if path.is_dir() else [path]:
        try:
            yield file.lstat()
        except FileNotFoundError:
            continue


def _description(folder: Path) -> Mapping[str, object] | None:
    """Returns the stage of an artifact, damaged or not, if its description hashes to the key."""
    try:
        found = json.loads((folder / manifests.FILE).read_text(encoding="utf-8"))["stage"]
        return found if _is_of(folder, found) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_of(folder: Path, description: Mapping[str, object]) -> bool:
    return description.get("name") == folder.parent.name and key_of(description) == folder.name
