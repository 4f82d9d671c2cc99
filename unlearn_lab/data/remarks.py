"""Finds data that metrics cannot measure: repeats, non-Latin scripts, unreachable answers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

from unlearn_lab.data.asking import unanswerable
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.leaks import Split, leaks
from unlearn_lab.data.parts import QUESTION, TEXT, VERBATIM, Item, Part
from unlearn_lab.data.problems import Problem
from unlearn_lab.data.runs import words

Remarks = dict[str, tuple[str, ...]]
"""Remarks on a corpus by kind: overlap, repeats, script or answers."""

_SCORED = {
    "forget": "VerbMem and PrivLeak",
    "verbatim": "VerbMem",
    "forget_questions": "KnowMem",
    "retain_questions": "Utility",
    "forget_documents": "PrivLeak",
    "holdout_documents": "PrivLeak",
}
"""The metrics that read each part; prompts and documents may be derived from `forget`."""
_COLUMNS = {
    "verbatim": VERBATIM,
    "forget_questions": QUESTION,
    "retain_questions": QUESTION,
    "forget_documents": TEXT,
    "holdout_documents": TEXT,
}
_LEAST_SHARE = 0.2
"""Share of a text's letters and digits that must be a-z or 0-9, the only ones ROUGE compares."""
_COUNTED = re.compile("[a-z0-9]")
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """A corpus and the remarks on it."""

    corpus: Corpus
    remarks: Remarks


def survey(corpus: Corpus) -> Surveyed:
    """Surveys a corpus not read from files; remarks locate items by number, counted from 1."""
    forget, retain, holdout = (
        Split(_part(corpus, role, TEXT)) for role in ("forget", "retain", "holdout_documents")
    )
    parts = {role: _part(corpus, role, columns) for role, columns in _COLUMNS.items()}
    overlap = [
        remark
        for known, other in ((forget, retain), (forget, holdout), (retain, holdout))
        for remark in leaks(known, other, tolerant=False, allowed=True)[1]
    ]
    return Surveyed(corpus=corpus, remarks=remarks(parts, overlap))


def remarks(parts: Mapping[str, Part], overlap: Sequence[Problem]) -> Remarks:
    """Returns the remarks on scored parts (keyed by role in `Corpus`) and on overlap, by kind."""
    found = {
        "overlap": tuple(map(str, overlap)),
        "repeats": tuple(_repeats(parts)),
        "script": tuple(_foreign_script(parts)),
    }
    return {kind: lines for kind, lines in found.items() if lines}


def hopeless(parts: Mapping[str, Part], most_words: int) -> Iterator[str]:
    """Yields a line for each part with ground-truth answers that no model can give in full.

    `most_words` is the longest answer that is generated, in tokens. Words are counted instead: a
    word is at least one token, so that the result is valid for every tokenizer.
    """
    for role in ("forget_questions", "retain_questions"):
        if role in parts:
            part = parts[role]
            answers = [item.values[-1] for item in part.items]
            faults = unanswerable(answers, most_words, lambda text: len(text.split()))
            for what, places in faults.items():
                yield f"{part.place}: {_some(part, places)} {what}; {_SCORED[role]} cannot be 100"


def _part(corpus: Corpus, role: str, columns: tuple[str, ...]) -> Part:
    rows = [(item,) if isinstance(item, str) else astuple(item) for item in getattr(corpus, role)]
    items = tuple(Item(str(number), columns[0], row) for number, row in enumerate(rows, start=1))
    return Part(place=role, columns=columns, items=items, problems=(), remarks=())


def _repeats(parts: Mapping[str, Part]) -> Iterator[str]:
    """Yields a line for each scored part with repeated items: intervals assume independent ones."""
    for role, part in _distinct(parts):
        seen: dict[tuple[str, ...], Item] = {}
        again = list[int]()
        for place, item in enumerate(part.items):
            known = tuple(words(" ".join(item.values)))
            if known and known in seen:
                again.append(place)
            seen.setdefault(known, item)
        if again:
            item = part.items[again[0]]
            first = seen[tuple(words(" ".join(item.values)))]
            yield (
                f"{part.place}: {_some(part, again)} repeat an earlier one, {_at(item)} that "
                f"at {_at(first)}; the intervals of {_SCORED[role]} take them for independent "
                "and are too narrow"
            )


def _foreign_script(parts: Mapping[str, Part]) -> Iterator[str]:
    """Yields a line for each part with scored texts of few letters or digits that ROUGE counts."""
    for role, part in _distinct(parts):
        if role.endswith("_documents"):  # PrivLeak compares log-probabilities
            continue
        foreign = [place for place, item in enumerate(part.items) if _is_foreign(item.values[-1])]
        if foreign:
            yield (
                f"{part.place}: {_some(part, foreign)} have hardly a letter a-z or a digit, the "
                f"only ones that ROUGE counts; {_SCORED[role]} would be 0 on them"
            )


def _distinct(parts: Mapping[str, Part]) -> Iterator[tuple[str, Part]]:
    """Yields each scored part once, under its first role."""
    seen = set[str]()
    for role in _SCORED:
        if role in parts and parts[role].place not in seen:
            seen.add(parts[role].place)
            yield role, parts[role]


def _some(part: Part, places: Sequence[int]) -> str:
    """Returns the number of items and the locations of the first ones, in words."""
    at = ", ".join(_at(part.items[place]) for place in places[:_NAMED])
    more = ", ..." if len(places) > _NAMED else ""
    return f"{len(places)} of {len(part.items)} (at {at}{more})"


def _at(item: Item) -> str:
    """Returns the line, and the array element if any: a line may contain several."""
    element = item.field.split(".")[0]
    return f"{item.at} {element}" if element.startswith("[") else item.at


def _is_foreign(text: str) -> bool:
    num_characters = sum(character.isalnum() for character in text)
    num_counted = len(_COUNTED.findall(text.lower()))
    return num_counted < _LEAST_SHARE * num_characters or num_counted == 0 < len(text.strip())
