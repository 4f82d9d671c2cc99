"""A home's cache beside its records: which sweep needs what, and which items a request means."""

import difflib
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_lab.cache.words import Words
from unlearn_lab.graph.inventory import Item, below, take_inventory
from unlearn_lab.graph.prune import Selection
from unlearn_lab.plan.stages import VERSIONS
from unlearn_lab.record.results import read_records, records_path

_SECONDS = {"min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True, kw_only=True)
class View:
    """The items of a cache, the records beside it, and by key the sweeps that stand on it."""

    home: Path
    root: Path
    items: Sequence[Item]
    records: Sequence[Mapping[str, Any]]
    sweeps: Mapping[str, tuple[str, ...]]
    words: Words

    @property
    def artifacts(self) -> list[Item]:
        """The items that are artifacts, whole or damaged."""
        return [item for item in self.items if item.kind == "artifact"]


def open_view(home: Path) -> View:
    """Raises `ValueError` for a home without a cache."""
    root = (home / "cache").resolve()
    if not root.is_dir():
        raise ValueError(f"--home={home}: no cache there; name the runtime.home of a sweep")
    items, records = take_inventory(root), read_records(home)
    sweeps = defaultdict[str, list[str]](list)
    for sweep in dict.fromkeys(str(record.get("sweep")) for record in records):
        roots = (
            key for record in records if str(record.get("sweep")) == sweep for key in _keys(record)
        )
        for key in below(roots, items):
            sweeps[key].append(sweep)
    return View(
        home=home,
        root=root,
        items=items,
        records=records,
        sweeps={key: tuple(sorted(names)) for key, names in sweeps.items()},
        words=Words(items, records),
    )


def select(
    view: View, *, stage: str | None, sweep: str | None, older_than: str | None, unreachable: bool
) -> Selection:
    """What the options mean. Raises `ValueError` for a stage or a sweep that is not there."""
    if stage is not None:
        require_known("--stage", stage, {*VERSIONS, *(item.stage for item in view.items)} - {""})
    if sweep is not None:
        names = dict.fromkeys(str(record.get("sweep")) for record in view.records)
        require_known("--sweep", sweep, names)
    return Selection(
        stage=stage,
        before=None if older_than is None else time.time() - _seconds(older_than),
        keys=None
        if sweep is None
        else {key for key, names in view.sweeps.items() if sweep in names},
        but_keys=view.sweeps.keys() if unreachable else None,
    )


def require_records(view: View) -> None:
    """Raises `ValueError` where no record is: without any, everything would be unreachable."""
    if not view.records:
        raise ValueError(
            f"--unreachable: {records_path(view.home)} holds no record, so nothing would be kept; "
            "to remove all, use --older-than 0d"
        )


def find_key(view: View, begins: str) -> str:
    """The only key of an artifact or a record that begins so. Raises `ValueError`."""
    stages = {item.key: item.stage for item in view.artifacts}
    known = stages | {record["run_id"]: "record" for record in view.records}
    found = sorted(key for key in known if key.startswith(begins))
    if len(found) == 1:
        return found[0]
    if not found or not begins:
        raise ValueError(f"KEY={begins}: no artifact or record begins so; `ls` shows all")
    matches = ", ".join(f"{known[key]} {key[: len(begins) + 4]}" for key in found[:3])
    raise ValueError(f"KEY={begins}: begins {len(found)} keys ({matches} ...); give more of it")


def require_known(option: str, wanted: str, there: Iterable[str]) -> None:
    """Raises `ValueError`, with the nearest name, for one that is not there."""
    names = sorted(there)
    if wanted in names:
        return
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.4)
    listed = ", ".join(names) or "none at all"
    raise ValueError(
        f"{option}={wanted}: " + (f"did you mean {close[0]}?" if close else f"there are {listed}")
    )


def _keys(record: Mapping[str, Any]) -> list[str]:
    named = [str(key) for name, key in record.items() if name.startswith("stages.")]
    return [str(record["run_id"]), *named]


def _seconds(age: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(min|h|d|w)", age)
    if found is None:
        raise ValueError(f"--older-than={age}: must be a number and min, h, d or w, as 30d")
    return float(found[1]) * _SECONDS[found[2]]
