"""The corpus stage: loads a corpus once and keeps it as one JSON file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from unlearn_lab.build import build as make
from unlearn_lab.build import placed
from unlearn_lab.data.corpus import Corpus, Question, VerbatimPrompt
from unlearn_lab.data.remarks import Surveyed, survey
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.settings import Runtime

FILE = "corpus.json"


@runtime_checkable
class CorpusSource(Protocol):
    """Where a corpus comes from: generated, from a folder or from the hub."""

    def load(self) -> Corpus:
        """The whole corpus, the same at every call."""
        ...


@runtime_checkable
class SurveyedSource(CorpusSource, Protocol):
    """A source that says by file and line what is wrong with its corpus."""

    def survey(self) -> Surveyed:
        """The corpus of `load`, and what is to be said of it."""
        ...


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: `corpus.json`; the facts count what it holds, and hold `remarks`.

    Raises `ValueError`, which begins with `dataset`, when the corpus cannot be read.
    """
    source = make(params["dataset"], CorpusSource, "dataset")
    try:
        found = source.survey() if isinstance(source, SurveyedSource) else survey(source.load())
    except ValueError as error:
        raise ValueError(placed(error, "dataset")) from error
    rows = dataclasses.asdict(found.corpus)
    (work / FILE).write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")
    told = {kind: "; ".join(lines) for kind, lines in found.remarks.items()}
    return {**{name: len(items) for name, items in rows.items()}, "remarks": told}


def remarks(artifact: Artifact) -> dict[str, str]:
    """What is to be said of the corpus, by what it is about (see `data.remarks`)."""
    return dict(cast("Mapping[str, str]", artifact.facts["remarks"]))


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
