"""Formats faults of a corpus by file, line and field."""

from collections.abc import Sequence
from dataclasses import dataclass

_NUM_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """One fault of a corpus.

    Attributes:
        place: the file or hub split.
        at: line number, counted from 1, or "row 3" in files without lines; None for the whole.
        field: the field's path; None for the whole row or file.
        what: the fault, in words.
    """

    place: str
    at: str | None
    field: str | None
    what: str

    def __str__(self) -> str:
        where = self.place if self.at is None else f"{self.place}:{self.at}"
        field = "" if self.field is None else f" {self.field}:"
        return f"{where}:{field} {self.what}"


def refusal(problems: Sequence[Problem], folder: str | None) -> ValueError:
    """Returns a one-line error with the first few problems.

    `folder` is named in the command that prints all problems; None omits the command.
    """
    shown = "; ".join(str(problem) for problem in problems[:_NUM_SHOWN])
    num_more = len(problems) - _NUM_SHOWN
    if num_more <= 0:
        return ValueError(shown)
    ask = "" if folder is None else f" (all: python -m unlearn_lab.data.check {folder})"
    return ValueError(f"{shown}; and {num_more} more{ask}")
