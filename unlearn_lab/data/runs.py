"""Finds texts inside other texts by word runs, ignoring cuts, spacing, case and encoding."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

RUN = 8
"""Words of a run, the unit of comparison."""
_FEWEST = 4
"""Fewest words of a text that is matched in part; a shorter one must equal a whole text."""

_NO_BLANKS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_NO_BLANKS}]|[^\W_{_NO_BLANKS}]+")
"""Letters and digits in a row; one character of unspaced scripts (Thai, Lao, Khmer, CJK, ...)."""


def words(text: str) -> list[str]:
    """Splits a text into words, normalized to NFKC and case-folded.

    Punctuation, white space and invisible format characters are dropped.
    """
    known = unicodedata.normalize("NFKC", text).casefold()
    if not known.isascii():
        invisible = [ord(one) for one in set(known) if unicodedata.category(one) == "Cf"]
        known = known.translate(dict.fromkeys(invisible)) if invisible else known
    return _WORD.findall(known)


class Index:
    """Index of the word runs of texts, for looking up other texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Splits the texts into words; runs are indexed at the first look-up."""
        self._texts = [words(text) for text in texts]
        self._runs: dict[int, dict[int, int]] = {}
        self._whole = {
            tuple(found): place for place, found in reversed(list(enumerate(self._texts)))
        }

    def share(self, text: str) -> tuple[float, int]:
        """Returns the share (0-1) of a text's runs that occur in the indexed texts.

        A text shorter than `RUN` words is one run; one of fewer than `_FEWEST` words must equal a
        whole text. The second value is the index of the text with most of the runs, 0 if none.
        """
        found = words(text)
        if len(found) < _FEWEST:
            place = self._whole.get(tuple(found)) if found else None
            return (0.0, 0) if place is None else (1.0, place)
        size = min(RUN, len(found))
        known, runs = self._of(size), list(_runs(found, size))
        places = Counter(known[run] for run in runs if run in known)
        if not places:
            return 0.0, 0
        return sum(places.values()) / len(runs), places.most_common(1)[0][0]

    def _of(self, size: int) -> dict[int, int]:
        """Returns the first text that contains each run of `size` words, by the run's hash."""
        if size not in self._runs:
            self._runs[size] = {
                run: place
                for place in range(len(self._texts) - 1, -1, -1)
                for run in _runs(self._texts[place], size)
            }
        return self._runs[size]


def _runs(found: Sequence[str], size: int) -> Iterator[int]:
    for start in range(len(found) - size + 1):
        yield hash(tuple(found[start : start + size]))
