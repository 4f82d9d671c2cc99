"""How a fault in a corpus is told: by file, line and field."""

from collections.abc import Sequence
from dataclasses import dataclass

_NUM_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """One fault: a file or hub split, the line or row, the field, and what is wrong with it.

    `at` is a line number, counted from 1, or "row 3" where there are no lines. None: the whole.
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
    """The error that a corpus with these problems raises: one line, the first few problems.

    `folder` is what the checker can be asked to tell all about; None where there is no such folder.
    """
    shown = "; ".join(str(problem) for problem in problems[:_NUM_SHOWN])
    num_more = len(problems) - _NUM_SHOWN
    if num_more <= 0:
        return ValueError(shown)
    ask = "" if folder is None else f" (all: python -m unlearn_lab.data.check {folder})"
    return ValueError(f"{shown}; and {num_more} more{ask}")
