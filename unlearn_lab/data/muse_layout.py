"""Defines MUSE's layout of a corpus in a folder and on the hub; reads and writes its parts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.leaks import Split, leaks
from unlearn_lab.data.parts import QUESTION, TEXT, VERBATIM, Part, parse
from unlearn_lab.data.problems import Problem
from unlearn_lab.data.rows import files_of, read_rows

ASKED = {
    "verbatim": "verbmem/forget",
    "forget_questions": "knowmem/forget_qa",
    "forget_examples": "knowmem/forget_qa_icl",
    "retain_questions": "knowmem/retain_qa",
    "retain_examples": "knowmem/retain_qa_icl",
    "forget_documents": "privleak/forget",
    "holdout_documents": "privleak/holdout",
}
"""The parts, `configuration/split`, that metrics read; training reads `raw`, `scal` or `sust`."""
TRAINED = ("raw", "scal", "sust")
FOLDS = ("scalability", "sustainability")
NUM_FOLDS = 4


def columns(name: str) -> tuple[str, ...]:
    """Returns the columns of a part by its name, `configuration/split`."""
    return {"knowmem": QUESTION, "verbmem": VERBATIM}.get(name.split("/")[0], TEXT)


def is_muse_layout(folder: Path) -> bool:
    """Whether the folder has any folder of MUSE's layout."""
    return any((folder / name).is_dir() for name in ("raw", "knowmem", "verbmem", "privleak"))


def forget_names(folds: str | None, fold: int | None) -> tuple[str, ...]:
    """Returns the names of the parts to forget; without `fold`, all that is forgotten in the end.

    Folds of scalability are cumulative, folds of sustainability disjoint (MUSE's description).
    """
    if folds is None:
        return ("raw/forget",)
    if folds == "scalability":
        return (f"scal/forget_{fold or NUM_FOLDS}",)
    numbers = range(1, NUM_FOLDS + 1) if fold is None else (fold,)
    return tuple(f"sust/forget_{number}" for number in numbers)


def local_files(folder: Path, name: str) -> list[Path]:
    """Returns a part's file, or its shards (see `rows.files_of`); empty if missing."""
    return next(iter(files_of(folder, name)), [])


def read_local(folder: Path, name: str) -> Part:
    """Reads a part of a folder; a missing first fold (scal, sust) falls back to `raw/forget`."""
    files = local_files(folder, name)
    if not files and name in ("scal/forget_1", "sust/forget_1"):
        files = local_files(folder, "raw/forget")
    first, *shards = files or [folder / f"{name}.json"]
    rows = read_rows(first, shards)
    return parse(rows, columns(name), tolerant=name.startswith(TRAINED))


def compare(
    forget: Iterable[Part], retain: Iterable[Part], asked: Mapping[str, Part], *, allowed: bool
) -> tuple[list[Problem], list[Problem]]:
    """Finds texts that occur in two splits.

    A few repeated articles, as in a published benchmark, are remarks, not problems, unless both
    document sets of PrivLeak contain them.

    Args:
        forget: parts to forget.
        retain: parts to retain.
        asked: parts that metrics read, by their role in `Corpus`.
        allowed: turns all problems into remarks.

    Returns:
        Problems and remarks.
    """
    known, kept = [Split(part) for part in forget], [Split(part) for part in retain]
    documents, holdout = (Split(asked[f"{name}_documents"]) for name in ("forget", "holdout"))
    found = [
        *(leaks(one, other, tolerant=True, allowed=allowed) for one in known for other in kept),
        *(leaks(one, holdout, tolerant=True, allowed=allowed) for one in (*known, *kept)),
        leaks(documents, holdout, tolerant=False, allowed=allowed),
    ]
    return (
        [problem for problems, _ in found for problem in problems],
        [remark for _, remarks in found for remark in remarks],
    )


def write_parts(parts: Mapping[str, Part], folder: Path) -> None:
    """Writes parts in MUSE's layout, each as a JSON array under its name."""
    for name, part in parts.items():
        _write(folder, name, [item.values for item in part.items])


def write_corpus(corpus: Corpus, folder: Path) -> None:
    """Writes a corpus in MUSE's layout; raises `ValueError` if it lacks a required part."""
    rows = {
        "raw/forget": [(text,) for text in corpus.forget],
        "raw/retain1": [(text,) for text in corpus.retain],
        **{name: _rows(getattr(corpus, role)) for role, name in ASKED.items()},
    }
    missing = [name for name, values in rows.items() if not values]
    if missing:
        raise ValueError(f"MUSE's layout needs {', '.join(missing)}, and the corpus has none")
    for name, values in rows.items():
        _write(folder, name, values)


def _rows(items: Sequence[Any]) -> list[tuple[str, ...]]:
    return [(item,) if isinstance(item, str) else astuple(item) for item in items]


def _write(folder: Path, name: str, rows: Sequence[tuple[str, ...]]) -> None:
    file, named = folder / f"{name}.json", columns(name)
    values = [row[0] if named == TEXT else dict(zip(named, row, strict=True)) for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, ensure_ascii=False, indent=0), encoding="utf-8")
