"""Defines what the planner asks of a part; a part implements the protocols that apply to it.

Nothing is subclassed: a part that reads a file has a property `outside`, and so on. A part
without any of these depends on its own settings and code alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Something outside the cache that a part reads; its content becomes part of the key.

    Attributes:
        kind: whether it is a model, a data set, or files.
        place: file, folder or (for a model or data set) hub name.
        setting: the part's field that names it; None for a file that belongs to the part's code.
        revision: the part's field with a hub name's revision.
        patterns: glob patterns of the files that count in a folder.
        sha256: the digest that a single file must have.
    """

    kind: Literal["model", "dataset", "files"]
    place: str | Path
    setting: str | None
    revision: str | None = None
    patterns: tuple[str, ...] = ("**/*",)
    sha256: str | None = None


@runtime_checkable
class ReadsOutside(Protocol):
    """A part that reads files or hub repositories."""

    @property
    def outside(self) -> Sequence[Outside]:
        """Everything that it reads with its present settings."""
        ...


@runtime_checkable
class UsesLibraries(Protocol):
    """A part whose results depend on libraries that unlearn_lab does not always install."""

    @property
    def libraries(self) -> Sequence[str]:
        """Names of distributions ("lm-eval"); their versions become part of the key."""
        ...


@runtime_checkable
class Folded(Protocol):
    """A data set that is forgotten in several folds; its field `fold` selects one."""

    @property
    def steps(self) -> Sequence[int]:
        """The folds to unlearn, in order; empty if the whole is unlearned at once."""
        ...


@runtime_checkable
class Published(Protocol):
    """A data set that a benchmark has published."""

    @property
    def published_as(self) -> str | None:
        """Its name on the hub; None for a copy on disk, whose content is not checked."""
        ...


@runtime_checkable
class NeedsControlScores(Protocol):
    """A stop rule that compares with the retrain control's scores."""

    @property
    def needs_metrics(self) -> Sequence[str]:
        """The metrics to compare; empty if it needs no scores."""
        ...


@runtime_checkable
class NeedsSaliency(Protocol):
    """An update rule that selects units of the weights by saliency."""

    @property
    def saliency(self) -> Mapping[str, object]:
        """What the units' scores depend on: granularity, modules, batches."""
        ...


@runtime_checkable
class FullPrecision(Protocol):
    """A quantizer that leaves the model unchanged: its scores are the full-precision ones."""

    full_precision: Literal[True]


@runtime_checkable
class NeedsCalibration(Protocol):
    """A quantizer that needs text, with the part `calibration` that samples it."""

    @property
    def calibration(self) -> object:
        """Samples the text."""
        ...


@runtime_checkable
class Packable(Protocol):
    """A quantizer that rounds on load, and whose result can be stored as a checkpoint."""

    packing_libraries: Sequence[str]
    """Distributions that write the checkpoint."""


@runtime_checkable
class BatchDependent(Protocol):
    """A quantizer under which an answer depends on the other items of its batch."""

    batch_dependent: Literal[True]


@runtime_checkable
class GivenModels(Protocol):
    """A quantizer that reads checkpoints quantized outside unlearn_lab."""

    @property
    def given(self) -> Mapping[str, str | None]:
        """The field with each model's place, by role; None if there is no such model."""
        ...


@runtime_checkable
class FinishedModel(Protocol):
    """A model that may be a finished target, with or without a retrain control.

    Attributes:
        path: folder, file or hub name of the target.
        revision: revision of `path` on the hub.
        tokenizer: folder or hub name of the tokenizer; None: that of `path`.
        tokenizer_revision: revision of `tokenizer` on the hub.
        finetune: whether target and control are trained from `path` instead, as from any model.
        retrain: folder, file or hub name of the retrain control; None if there is none.
        retrain_revision: revision of `retrain` on the hub.
        trust_remote_code: whether to run Python code from the repositories.
    """

    path: str
    revision: str | None
    tokenizer: str | None
    tokenizer_revision: str | None
    finetune: bool
    retrain: str | None
    retrain_revision: str | None
    trust_remote_code: bool


@runtime_checkable
class FinishedUnlearning(Protocol):
    """A method that is no training: a model that was unlearned elsewhere.

    Attributes:
        path: folder, file or hub name of the checkpoint or adapter.
        revision: revision of `path` on the hub.
        tokenizer: whose tokenizer it is evaluated with: `target` or `own`.
        merge: dtype in which an adapter is added to the target; `auto` for `trainer.weights`.
    """

    path: str
    revision: str | None
    tokenizer: str
    merge: str
