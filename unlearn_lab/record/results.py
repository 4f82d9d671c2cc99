"""Stores the records of a home in one file, safe for concurrent appends and crashes."""

import json
import logging
import math
import os
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


def records_path(home: Path) -> Path:
    """Path of the records file of `home`."""
    return home / "results" / "records.jsonl"


def append(home: Path, record: Mapping[str, object]) -> Path:
    """Appends one record as one line, fsynced on return; returns the file's path.

    NaN and infinity, which JSON does not have, become null with a warning that names the figures.
    Raises `ValueError` for a record without a `run_id`, `OSError` when it is not fully written.
    """
    if not record.get("run_id"):
        raise ValueError("a record needs a run_id: without it, its line could never be found again")
    path = records_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(_finite(record), allow_nan=False, sort_keys=True).encode() + b"\n"
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
    return path


def read_records(home: Path) -> list[dict[str, object]]:
    """Returns the records of `home`: the latest line of each `run_id`, in file order.

    Settings of old records are renamed to their present names. A line that is not a record, such
    as a write cut off by a crash, is skipped with a warning.
    """
    path = records_path(home)
    latest: dict[object, dict[str, object]] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            _log.warning(
                "%s, line %d is not a record (a write that was cut off?): skipped", path, number
            )
            continue
        latest.pop(record["run_id"], None)
        latest[record["run_id"]] = present_record(record)
    return list(latest.values())


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
