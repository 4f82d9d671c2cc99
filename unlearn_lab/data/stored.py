"""Reads the artifact of the corpus stage: the corpus and the remarks on it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, cast

from unlearn_lab.data.corpus import Corpus, Probe, Question, Template, VerbatimPrompt
from unlearn_lab.graph.cache import Artifact

FILE = "corpus.json"


def read_remarks(artifact: Artifact) -> dict[str, str]:
    """Returns the remarks on the corpus, by kind (see `data.remarks`)."""
    return dict(cast("Mapping[str, str]", artifact.facts["remarks"]))


def read_corpus(artifact: Artifact) -> Corpus:
    """Returns the corpus of a finished corpus stage."""
    rows = json.loads((artifact.path / FILE).read_text(encoding="utf-8"))
    made = {
        field.name: _MAKE.get(field.name, tuple)(rows[field.name])
        for field in dataclasses.fields(Corpus)
        if field.name in rows  # former versions stored fewer
    }
    return Corpus(**made)


def _questions(rows: list[dict[str, str]]) -> tuple[Question, ...]:
    return tuple(Question(**row) for row in rows)


def _probes(splits: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[Probe, ...]]:
    return {
        name: tuple(Probe(**{**row, "wrong": tuple(row["wrong"])}) for row in rows)
        for name, rows in splits.items()
    }


_MAKE = {
    "verbatim": lambda rows: tuple(VerbatimPrompt(**row) for row in rows),
    "forget_questions": _questions,
    "forget_examples": _questions,
    "retain_questions": _questions,
    "retain_examples": _questions,
    "forget_pairs": _questions,
    "retain_pairs": _questions,
    "probes": _probes,
    "template": lambda row: Template(**row),
}
