"""Builds the stages of models not trained here: a base, or a finished target or control."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.source import Source


@runtime_checkable
class BaseModel(Protocol):
    """A model to start training from."""

    def write_base(self, folder: Path, corpus: Corpus, seed: int) -> dict[str, object]:
        """Writes a checkpoint with tokenizer, or a pointer to one.

        Args:
            folder: where to write.
            corpus: the corpus, for a model that trains its tokenizer on it.
            seed: seed of the weights, for a model that initializes them.

        Returns:
            The facts of the artifact.
        """
        ...


def build_base(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a checkpoint with tokenizer, or a pointer to one.

    Args:
        params: the stage's parameters: `model` and `seed`.
        inputs: the artifact `corpus`.
        work: the folder to write to.
        runtime: not used.
    """
    source = make(params["model"], BaseModel, "model")
    return source.write_base(work, read_corpus(inputs["corpus"]), params["seed"])


def build_imported(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a pointer to a target or control trained elsewhere.

    Args:
        params: the stage's parameters: the fields of `Source`.
        inputs: not used.
        work: the folder to write to.
        runtime: not used.
    """
    from unlearn_lab.models.pointer import write_pointer

    return write_pointer(
        work, Source(**{field.name: params[field.name] for field in dataclasses.fields(Source)})
    )
