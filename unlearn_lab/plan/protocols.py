"""What the planner asks a part, built from the configuration; a part has what applies to it.

Nothing is subclassed: a part that reads a file has a property `outside`, and so on. A part without
any of these depends on its own settings and its own code alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Something outside the cache that a part reads; its content becomes part of the key.

    `place` is a file, a folder or (kinds `model` and `dataset`) a hub name; `setting` is the field
    of the part that names it, None for a file that belongs to the part's code. `revision` is the
    field that holds a hub name's revision. Of a folder only files that one of the glob `patterns`
    finds count.
    """

    kind: Literal["model", "dataset", "files"]
    place: str | Path
    setting: str | None
    revision: str | None = None
    patterns: tuple[str, ...] = ("**/*",)


@runtime_checkable
class ReadsOutside(Protocol):
    """A part that reads files or hub names."""

    @property
    def outside(self) -> Sequence[Outside]:
        """All that it reads with its present settings."""
        ...


@runtime_checkable
class UsesLibraries(Protocol):
    """A part whose results depend on libraries that unlearn_lab does not always bring."""

    @property
    def libraries(self) -> Sequence[str]:
        """Their names as distributions ("lm-eval"); their versions become part of the key."""
        ...


@runtime_checkable
class Folded(Protocol):
    """A data set that is forgotten in several folds; its field `fold` chooses one."""

    @property
    def steps(self) -> Sequence[int]:
        """The folds to unlearn, in order; empty where the whole is unlearned at once."""
        ...


@runtime_checkable
class Published(Protocol):
    """A data set that a benchmark has published."""

    @property
    def published_as(self) -> str | None:
        """Its name on the hub; None for a copy on disk, whose content is not looked at."""
        ...


@runtime_checkable
class NeedsControlScores(Protocol):
    """A stop rule that compares with the retrain control's scores."""

    @property
    def needs_metrics(self) -> Sequence[str]:
        """The metrics it compares; none where it needs no scores."""
        ...


@runtime_checkable
class NeedsSaliency(Protocol):
    """An optimizer rule that chooses units of the weights by their saliency."""

    @property
    def saliency(self) -> Mapping[str, object]:
        """What the units' scores depend on: granularity, modules, batches."""
        ...


@runtime_checkable
class FullPrecision(Protocol):
    """A quantizer that leaves the model as it is: its scores are the full-precision ones."""

    full_precision: Literal[True]


@runtime_checkable
class NeedsCalibration(Protocol):
    """A quantizer that sees text, with the part `calibration` that draws it."""

    @property
    def calibration(self) -> object:
        """Draws the text."""
        ...


@runtime_checkable
class Packable(Protocol):
    """A quantizer that rounds on load, and whose result can be kept as a checkpoint."""

    packing_libraries: Sequence[str]
    """What writes the checkpoint."""


@runtime_checkable
class BatchDependent(Protocol):
    """A quantizer under which an answer depends on who shares its batch."""

    batch_dependent: Literal[True]


@runtime_checkable
class GivenModels(Protocol):
    """A quantizer that reads checkpoints which were quantized outside unlearn_lab."""

    @property
    def given(self) -> Mapping[str, str | None]:
        """The field with each model's place, by role; None where there is no such model."""
        ...


@runtime_checkable
class FinishedModel(Protocol):
    """A model that may be a finished target, with or without a retrain control.

    With `finetune` it is where their training starts, as any other model is.
    """

    path: str
    revision: str | None
    tokenizer: str | None
    tokenizer_revision: str | None
    finetune: bool
    retrain: str | None
    retrain_revision: str | None
    trust_remote_code: bool
