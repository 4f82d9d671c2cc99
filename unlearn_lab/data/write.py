"""Writes a corpus in MUSE's layout, from whichever layout it came."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.muse_layout import ASKED, columns
from unlearn_lab.data.parts import TEXT, Part


def write_parts(parts: Mapping[str, Part], folder: Path) -> None:
    """The parts of a corpus in MUSE's layout, each as a JSON array under its own name."""
    for name, part in parts.items():
        _write(folder, name, [item.values for item in part.items])


def write_corpus(corpus: Corpus, folder: Path) -> None:
    """A corpus of any kind. Raises `ValueError` where it lacks a part that MUSE's layout needs."""
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
