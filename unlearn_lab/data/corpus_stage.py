"""Builds the corpus stage: loads a corpus once and stores it as one JSON file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unlearn_lab.config.build import build as make
from unlearn_lab.config.build import placed
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import CorpusSource
from unlearn_lab.data.remarks import Surveyed, survey
from unlearn_lab.data.stored import FILE
from unlearn_lab.graph.cache import Artifact


@runtime_checkable
class SurveyedSource(CorpusSource, Protocol):
    """A source that reports faults of its corpus by file and line."""

    def survey(self) -> Surveyed:
        """Returns the corpus of `load` and the remarks on it."""
        ...


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact `corpus.json`.

    Args:
        params: the stage's parameters; `dataset` configures the source.
        inputs: not used.
        work: the folder to write to.
        runtime: not used.

    Returns:
        The facts: the number of items of each role, and `remarks` by kind.

    Raises:
        ValueError: the corpus cannot be read; the message begins with `dataset`.
    """
    source = make(params["dataset"], CorpusSource, "dataset")
    try:
        found = source.survey() if isinstance(source, SurveyedSource) else survey(source.load())
    except ValueError as error:
        raise ValueError(placed(error, "dataset")) from error
    rows = dataclasses.asdict(found.corpus)
    (work / FILE).write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")
    remarks = {kind: "; ".join(lines) for kind, lines in found.remarks.items()}
    counts = {name: len(items) for name, items in rows.items() if isinstance(items, list | tuple)}
    probes = {f"probes_{name}": len(items) for name, items in rows["probes"].items()}
    return {**counts, **probes, "remarks": remarks}
