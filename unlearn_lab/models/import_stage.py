"""The stages that provide a model untrained here: a base, or a finished target or control."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.hub import write_pointer
from unlearn_lab.models.load import Source


@runtime_checkable
class BaseModel(Protocol):
    """Where training starts from."""

    def write_base(self, folder: Path, corpus: Corpus, seed: int) -> dict[str, object]:
        """Writes a checkpoint with tokenizer, or a pointer to one, and reports what it is."""
        ...


def build_base(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a checkpoint with tokenizer, or a pointer to one."""
    source = make(params["model"], BaseModel, "model")
    return source.write_base(work, read_corpus(inputs["corpus"]), params["seed"])


def build_imported(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a pointer to a target or control that somebody else trained."""
    return write_pointer(
        work, Source(**{field.name: params[field.name] for field in dataclasses.fields(Source)})
    )
