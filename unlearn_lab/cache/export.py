"""Copies a result with its models, or one artifact, out of the cache."""

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from unlearn_lab.cache.table import SHOWN_KEY
from unlearn_lab.cache.view import View, find_key
from unlearn_lab.cache.words import format_bytes
from unlearn_lab.graph.claim import ClaimTimeouts
from unlearn_lab.graph.export import copy_artifact, exported_files, new_folder
from unlearn_lab.graph.inventory import Item
from unlearn_lab.graph.lease import lease
from unlearn_lab.graph.manifest import DamagedArtifact

RECORD = "record.json"
_SIDES = ("layers", "samples")
_POINTER = "pointer.json"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def export(
    view: View, begins: str, folder: Path, timeouts: ClaimTimeouts, say: Callable[[str], None]
) -> None:
    """Copies a record or an artifact into a new folder.

    A record gives `record.json`, its side files, the unlearned model (`unlearned/`) and, where the
    job exported one, the quantized model (`quantized/`); any other stage gives its artifact. Raises
    `ValueError` for what is missing or damaged, and for a folder that is not empty.

    Args:
        view: the cache and its records.
        begins: the key of a record or stage, or a unique prefix of it.
        folder: where to copy to; new or empty.
        timeouts: timing of the lease during the copy.
        say: called with one line on each step, sizes before they are copied.
    """
    key = find_key(view, begins)
    record = next((record for record in view.records if record["run_id"] == key), None)
    if record is None:
        parts = {"": _artifact(view, key, "it")}
    else:
        parts = {"unlearned": _artifact(view, str(record["stages.unlearn"]), "its unlearned model")}
        if "export" in record:
            parts["quantized"] = _artifact(view, Path(record["export"]).name, "its export")
    with _kept(view.root, [item.key for item in parts.values()], timeouts):
        _announce(parts, folder, say)
        with new_folder(folder.absolute()) as filled:
            for name, item in parts.items():
                (filled / name).mkdir(exist_ok=True)
                copy_artifact(item.path, filled / name)
            if record is not None:
                _write_record(view, record, filled, say)
    say(f"Copied to {folder}")


def _announce(parts: Mapping[str, Item], folder: Path, say: Callable[[str], None]) -> None:
    for item in parts.values():
        try:
            files = exported_files(item.path)
        except DamagedArtifact as damage:
            raise ValueError(f"{item.stage} {item.key[:SHOWN_KEY]}: {damage}") from damage
        size = format_bytes(sum(file.stat().st_size for file in files))
        say(f"{item.stage} {item.key[:SHOWN_KEY]}: {len(files)} files, {size}, to {folder}")


def _artifact(view: View, key: str, what: str) -> Item:
    named = key[:SHOWN_KEY]
    item = next((item for item in view.artifacts if item.key == key), None)
    if item is None:
        raise ValueError(f"KEY={named}: {what} is no longer cached; the same command builds it")
    if (item.path / _POINTER).exists():
        source = json.loads((item.path / _POINTER).read_text(encoding="utf-8")).get("path")
        raise ValueError(f"KEY={named}: is a pointer to {source}; copy the model from there")
    return item


def _write_record(
    view: View, record: Mapping[str, Any], into: Path, say: Callable[[str], None]
) -> None:
    """Writes the record as it is in the results, with its side files next to it."""
    row = dict(record)
    for side in _SIDES:
        place = view.home / str(record.get(side))
        if place.is_file():
            (into / place.name).write_bytes(place.read_bytes())
            row[side] = place.name
        else:
            say(f"{side}: no longer cached, left out")
    row |= {"export": "quantized"} if "export" in record else {}
    (into / RECORD).write_text(json.dumps(row, indent=1, sort_keys=True), encoding="utf-8")


@contextmanager
def _kept(root: Path, keys: list[str], timeouts: ClaimTimeouts) -> Iterator[None]:
    """Holds a lease on the artifacts; does without where this process cannot write to the cache."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lease(root, keys, timeouts))
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
        yield
