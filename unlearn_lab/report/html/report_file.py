"""Writes the report, unless the file is there and would say the same."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from unlearn_lab.record.leaf import Record
from unlearn_lab.record.side_files import SideFiles, read_sides
from unlearn_lab.record.verdict import VerdictThresholds

_PACKAGE = Path(__file__).resolve().parents[2]
_DIGEST = re.compile(rb'<meta name="digest" content="([0-9a-f]{64})">\n')
_BEFORE = b'<meta name="viewport"'
_HEAD = 4096


def report_path(home: Path) -> Path:
    """Path of the report of `home`."""
    return home / "results" / "report.html"


def write_report(
    home: Path, records: Sequence[Record], thresholds: VerdictThresholds, *, num_samples: int
) -> Path:
    """Writes the report atomically and returns its path.

    A report of the same records, side files, settings and code is left as it is: drawing takes
    seconds. Side files that cannot be read are left out with a warning.

    Args:
        home: the sweep's `runtime.home`.
        records: the records to show, each with an id of its own.
        thresholds: thresholds between verdicts.
        num_samples: sample answers shown for each leaf, metric, model and precision.
    """
    path = report_path(home)
    sides = [read_sides(home, record) for record in records]
    shown = _shown(records, sides, thresholds, num_samples)
    if _is_of(path, shown):
        return path
    render = import_module("unlearn_lab.report.html.page").render  # imports matplotlib
    page = render(records, sides, thresholds, num_samples=num_samples).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_bytes(_signed(page, shown))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _shown(
    records: Sequence[Record],
    sides: Sequence[SideFiles],
    thresholds: VerdictThresholds,
    num_samples: int,
) -> bytes:
    """Returns a digest of everything that the page follows from, the package's files included."""
    libraries = [version(name) for name in ("matplotlib", "jinja2", "numpy")]
    content = [records, [asdict(side) for side in sides], asdict(thresholds), num_samples]
    digest = hashlib.sha256(json.dumps([libraries, *content]).encode())
    for file in sorted(_PACKAGE.rglob("*")):
        if file.suffix in (".py", ".j2", ".css"):
            digest.update(file.read_bytes())
    return digest.digest()


def _is_of(path: Path, shown: bytes) -> bool:
    """Whether the file is a whole, unchanged page of what `shown` is the digest of."""
    try:
        page = path.read_bytes()
    except OSError:
        return False
    found = _DIGEST.search(page, 0, _HEAD)
    if found is None:
        return False
    unsigned = page[: found.start()] + page[found.end() :]
    return found[1].decode() == hashlib.sha256(shown + unsigned).hexdigest()


def _signed(page: bytes, shown: bytes) -> bytes:
    """Returns the page with the digest of itself and of what it shows in its head."""
    digest = hashlib.sha256(shown + page).hexdigest()
    return page.replace(_BEFORE, f'<meta name="digest" content="{digest}">\n'.encode() + _BEFORE, 1)
