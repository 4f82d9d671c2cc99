"""Recognises a text inside other texts, however it was cut, spaced, cased or encoded."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

RUN = 8
"""Words by which a text is recognised."""
_FEWEST = 4
"""Words of a text that is looked for inside others; a shorter one counts where it is a whole."""

_NO_BLANKS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_NO_BLANKS}]|[^\W_{_NO_BLANKS}]+")
"""A run of letters and digits; of scripts without blanks (Thai, Lao, Khmer, CJK), a character."""


def words(text: str) -> list[str]:
    """The words of a text in their compatible form (NFKC), without case and invisible characters.

    Neither punctuation nor white space is part of a word.
    """
    known = unicodedata.normalize("NFKC", text).casefold()
    if not known.isascii():
        known = "".join(one for one in known if unicodedata.category(one) != "Cf")
    return _WORD.findall(known)


class Index:
    """The runs of `RUN` words in some texts, to look others up in."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Splits the texts; runs are gathered when they are first asked for."""
        self._texts = [words(text) for text in texts]
        self._runs: dict[int, dict[int, int]] = {}
        self._whole = {
            tuple(found): place for place, found in reversed(list(enumerate(self._texts)))
        }

    def share(self, text: str) -> tuple[float, int]:
        """The share (0-1) of a text's runs that stand in the texts, and which holds most of them.

        A text shorter than `RUN` words is one run, and one of fewer than `_FEWEST` words is only
        found where it is the whole of another. The second number is 0 where nothing was found.
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
        """The first text of every run of so many words, by the run's hash."""
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
