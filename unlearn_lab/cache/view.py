"""Relates a home's cache to its records: which sweep needs what, and what options select."""

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
from unlearn_lab.record.results import read_records, read_sweeps, records_path

_SECONDS = {"min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True, kw_only=True)
class View:
    """A cache and its records.

    Attributes:
        home: the `runtime.home` of the sweeps.
        root: the cache's folder.
        items: all artifacts and leftovers.
        records: the records of the home.
        names: the sweeps of the home, in the order in which they ended with a first result.
        sweeps: sweeps with records that depend on an artifact, by its key.
        words: describes the items.
    """

    home: Path
    root: Path
    items: Sequence[Item]
    records: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    sweeps: Mapping[str, tuple[str, ...]]
    words: Words

    @property
    def artifacts(self) -> list[Item]:
        """Items that are artifacts, intact or damaged."""
        return [item for item in self.items if item.kind == "artifact"]


def open_view(home: Path) -> View:
    """Reads the cache and the records of a home; raises `ValueError` where there is no cache."""
    root = (home / "cache").resolve()
    if not root.is_dir():
        raise ValueError(f"--home={home}: no cache there; name the runtime.home of a sweep")
    items, records = take_inventory(root), read_records(home)
    sweeps = defaultdict[str, list[str]](list)
    members = read_sweeps(home)
    for sweep, ids in members.items():
        roots = (key for record in records if record["run_id"] in ids for key in _keys(record))
        for key in below(roots, items):
            sweeps[key].append(sweep)
    return View(
        home=home,
        root=root,
        items=items,
        records=records,
        names=tuple(members),
        sweeps={key: tuple(sorted(names)) for key, names in sweeps.items()},
        words=Words(items, records),
    )


def select(
    view: View,
    *,
    stage: str | None,
    sweep: str | None,
    older_than: str | None,
    unreachable: bool,
    key: str | None = None,
) -> Selection:
    """Converts options to a selection.

    Raises `ValueError` for an unknown stage, sweep or key, and for a malformed age.

    Args:
        view: the cache and its records.
        stage: only items of this stage.
        sweep: only artifacts that records of this sweep depend on.
        older_than: minimum age, such as `30d`.
        unreachable: only items that no record depends on.
        key: only the artifact whose key has this prefix.
    """
    if stage is not None:
        require_known("--stage", stage, {*VERSIONS, *(item.stage for item in view.items)} - {""})
    if sweep is not None:
        require_known("--sweep", sweep, view.names)
    keys = None
    if sweep is not None:
        keys = {one for one, names in view.sweeps.items() if sweep in names}
    if key is not None:
        only = {find_key(view, key)}
        keys = only if keys is None else keys & only
    return Selection(
        stage=stage,
        before=None if older_than is None else time.time() - _seconds(older_than),
        keys=keys,
        but_keys=view.sweeps.keys() if unreachable else None,
    )


def require_records(view: View) -> None:
    """Raises `ValueError` when there are no records: every artifact would be unreachable."""
    if not view.records:
        raise ValueError(
            f"--unreachable: {records_path(view.home)} holds no record, so nothing would be kept; "
            "to remove all, use --older-than 0d"
        )


def find_key(view: View, begins: str) -> str:
    """Returns the only artifact or record key with this prefix; raises `ValueError` otherwise."""
    stages = {item.key: item.stage for item in view.artifacts}
    known = stages | {record["run_id"]: "record" for record in view.records}
    found = sorted(key for key in known if key.startswith(begins))
    if len(found) == 1:
        return found[0]
    if not found or not begins:
        raise ValueError(f"KEY={begins}: no artifact or record has this prefix; `ls` lists all")
    matches = ", ".join(f"{known[key]} {key[: len(begins) + 4]}" for key in found[:3])
    raise ValueError(
        f"KEY={begins}: prefix of {len(found)} keys ({matches} ...); give a longer one"
    )


def require_known(option: str, wanted: str, there: Iterable[str]) -> None:
    """Raises `ValueError` for an unknown name, suggesting the nearest known one.

    Args:
        option: the option, for the message.
        wanted: the given name.
        there: the known names.
    """
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
