"""Stores the records of a home, and which sweeps they belong to; concurrent appends are safe.

`records.jsonl` has a line for each new or changed record. `sweeps.jsonl` has a line for each result
that a sweep ended with, computed or reused: a result can belong to many sweeps.
"""

import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from unlearn_lab.config.spelling import present_record

try:
    import fcntl
except (
    ImportError
):  # Windows has no flock; a single O_APPEND write per record is then the only protection
    fcntl = None

_log = logging.getLogger(__name__)
_OF_THE_SWEEP = ("sweep", "time", "config.report.sweep")
"""Fields that differ in every sweep."""


def records_path(home: Path) -> Path:
    """Path of the records file of `home`."""
    return home / "results" / "records.jsonl"


def sweeps_path(home: Path) -> Path:
    """Path of the file that lists the results of each sweep of `home`."""
    return home / "results" / "sweeps.jsonl"


def append(home: Path, record: Mapping[str, object]) -> Path:
    """Stores a record and that it belongs to its sweep; returns the path of the records file.

    A record that is stored already, but for its sweep and time, is not stored again. Lines are
    fsynced on return. NaN and infinity, which JSON does not have, become null with a warning that
    names the figures. Raises `ValueError` for a record without a `run_id`, `OSError` when it is not
    fully written.
    """
    if not record.get("run_id"):
        raise ValueError("a record needs a run_id: without it, its line could never be found again")
    path = records_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    finite = _finite(record)
    if not _is_stored(path, finite):
        _append_line(path, finite)
    if "sweep" in record:
        member = {name: record[name] for name in ("sweep", "run_id", "time") if name in record}
        _append_line(sweeps_path(home), member)
    return path


def _is_stored(path: Path, record: Mapping[str, object]) -> bool:
    """Whether the latest line of this `run_id` has the same content."""
    whole = path.read_bytes() if path.exists() else b""
    place = whole.rfind(f'"run_id": {json.dumps(record["run_id"])}'.encode())
    if place < 0:
        return False
    line = whole[whole.rfind(b"\n", 0, place) + 1 :].partition(b"\n")[0]
    stored, given = _parse(line), json.loads(json.dumps(record))
    return stored is not None and _lasting(stored) == _lasting(given)


def _lasting(record: Mapping[str, object]) -> dict[str, object]:
    """Returns a record without what differs in every sweep."""
    return {name: value for name, value in record.items() if name not in _OF_THE_SWEEP}


def _append_line(path: Path, content: Mapping[str, object]) -> None:
    line = json.dumps(content, allow_nan=False, sort_keys=True).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        with _locked(descriptor) as alone:
            size = os.fstat(descriptor).st_size
            whole = line if _ends_with_newline(descriptor) else b"\n" + line
            written = os.write(descriptor, whole)
            if written != len(whole) and alone:
                os.ftruncate(descriptor, size)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if written != len(whole):
        raise OSError(
            f"{path}: only {written} of {len(whole)} bytes were written; is the disk full?"
        )


def read_records(home: Path, sweep: str | None = None) -> list[dict[str, object]]:
    """Returns the records of `home`: the latest line of each `run_id`, in file order.

    Settings of old records are renamed to their present names. A line that is not a record, such
    as a write cut off by a crash, is skipped with a warning.

    Args:
        home: `runtime.home` of the sweeps.
        sweep: only the records that this sweep ended with, labelled with its name; None for all.
    """
    latest: dict[object, dict[str, object]] = {}
    for record in _read(records_path(home)):
        latest.pop(record["run_id"], None)
        latest[record["run_id"]] = present_record(record)
    if sweep is None:
        return list(latest.values())
    members = read_sweeps(home).get(sweep, set())
    return [record | {"sweep": sweep} for key, record in latest.items() if key in members]


def read_sweeps(home: Path) -> dict[str, set[str]]:
    """Returns the `run_id`s of each sweep's results, by its name.

    Homes of older versions have no `sweeps.jsonl`: every line of a record names its sweep there.
    """
    found = defaultdict[str, set[str]](set)
    for line in (*_read(records_path(home)), *_read(sweeps_path(home))):
        found[str(line.get("sweep"))].add(str(line["run_id"]))
    return dict(found)


def _read(path: Path) -> Iterator[dict[str, object]]:
    """Yields the objects of a file that have a `run_id`."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        found = _parse(line)
        if found is None:
            _log.warning(
                "%s, line %d is not a record (a write that was cut off?): skipped", path, number
            )
        else:
            yield found


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("run_id"), str) else None


def _finite(record: Mapping[str, object]) -> dict[str, object]:
    bad = [
        key
        for key, value in record.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if bad:
        _log.warning("record %s: not finite, kept as null: %s", record["run_id"], ", ".join(bad))
    return {key: None if key in bad else value for key, value in record.items()}


@contextmanager
def _locked(descriptor: int) -> Iterator[bool]:
    """Locks the file where the file system supports it (NFS may not); yields whether it did."""
    locked = False
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = True
        except OSError as error:
            _log.debug("no lock on the records file (%s): relying on O_APPEND", error)
    try:
        yield locked
    finally:
        if locked and fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"
