"""The corpus stage: loads a corpus once and keeps it as one JSON file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unlearn_lab.build import build as make
from unlearn_lab.build import placed
from unlearn_lab.data.corpus import Corpus, Question, VerbatimPrompt
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.settings import Runtime

FILE = "corpus.json"


@runtime_checkable
class CorpusSource(Protocol):
    """Where a corpus comes from: generated, from a folder or from the hub."""

    def load(self) -> Corpus:
        """The whole corpus, the same at every call."""
        ...


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: `corpus.json`; the facts count what it holds.

    Raises `ValueError`, which begins with `dataset`, when the corpus cannot be read.
    """
    source = make(params["dataset"], CorpusSource, "dataset")
    try:
        corpus = source.load()
    except ValueError as error:
        raise ValueError(placed(error, "dataset")) from error
    rows = dataclasses.asdict(corpus)
    (work / FILE).write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")
    return {name: len(items) for name, items in rows.items()}


def read(artifact: Artifact) -> Corpus:
    """The corpus of a finished corpus stage."""
    rows = json.loads((artifact.path / FILE).read_text(encoding="utf-8"))
    made = {
        field.name: _MAKE.get(field.name, tuple)(rows[field.name])
        for field in dataclasses.fields(Corpus)
    }
    return Corpus(**made)


def _questions(rows: list[dict[str, str]]) -> tuple[Question, ...]:
    return tuple(Question(**row) for row in rows)


_MAKE = {
    "verbatim": lambda rows: tuple(VerbatimPrompt(**row) for row in rows),
    "forget_questions": _questions,
    "forget_examples": _questions,
    "retain_questions": _questions,
    "retain_examples": _questions,
}
