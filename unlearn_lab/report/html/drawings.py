"""Draws the page's plots, or takes them over from the page that is there: drawing takes seconds."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup

from unlearn_lab.record.leaf import Record
from unlearn_lab.report.swept import NEVER

_PACKAGE = Path(__file__).resolve().parents[2]
_HERE = __package__
_NOT_DRAWN = ("sweep", "time", "git", "peak_gb", "seconds.", *NEVER)
_DRAWING = re.compile(r"<!-- drawing ([0-9a-f]{64}) -->(.*?)<!-- end of drawing -->", re.DOTALL)


class Drawings:
    """The plots of a page, each known by a digest: of what it shows, the code, and the drawing.

    One that was edited is drawn anew. matplotlib is imported for the first that has to be drawn.
    """

    def __init__(self, page: Path | None) -> None:
        """Reads the plots of the page at that path; there are none if it cannot be read."""
        try:
            text = "" if page is None else page.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        self._known = dict(_DRAWING.findall(text))

    def draw(self, plot: str, *inputs: object) -> Markup | None:
        """Returns an <svg> element between two comments that tell the next page what it shows.

        It is `Markup`, so that templates do not escape it; None if there is nothing to draw.

        Args:
            plot: module of this folder and its function, such as `plots.layer_map`.
            inputs: arguments of the function: plain values, dataclasses and lists of records.
        """
        shown = json.dumps([plot, *inputs], default=asdict)
        before = _digest(_code() + shown)
        for digest, drawing in self._known.items():
            if digest == _digest(before + drawing):
                break
        else:
            module, function = plot.split(".")
            drawing = getattr(import_module(f"{_HERE}.{module}"), function)(*inputs)
            if drawing is None:
                return None
            digest = _digest(before + drawing)
            self._known[digest] = drawing
        return Markup(f"<!-- drawing {digest} -->{drawing}<!-- end of drawing -->")


def drawn_of(records: Sequence[Record]) -> list[Record]:
    """Returns records without what no plot shows and a repeat may change."""
    return [
        {key: value for key, value in record.items() if not key.startswith(_NOT_DRAWN)}
        for record in records
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _code() -> str:
    """Returns a digest of the package's files and of the libraries that draw."""
    digest = hashlib.sha256(json.dumps([version("matplotlib"), version("numpy")]).encode())
    for file in sorted(_PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
