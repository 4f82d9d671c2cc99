"""When unlearning ends: after a fixed number of epochs, or when a rule says so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_lab.config.settings import Runtime
from unlearn_lab.graph.cache import Artifact

ShouldStop = Callable[[int], str | None]
"""Asked after each epoch (counted from 1); a reason ends the training."""


@dataclass(frozen=True, kw_only=True)
class StopContext:
    """The training that a rule watches; `inputs` holds the stages `corpus`, `retrain_scores`."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    inputs: Mapping[str, Artifact]
    runtime: Runtime


@runtime_checkable
class StopRule(Protocol):
    """Decides after each epoch whether training ends, perhaps by metrics of the evaluation."""

    @property
    def needs_metrics(self) -> tuple[str, ...]:
        """The metrics that the evaluation must have."""
        ...

    def watch(self, training: StopContext) -> ShouldStop:
        """The rule for one training."""
        ...


@dataclass(frozen=True, kw_only=True)
class FixedEpochs:
    """Never stops early."""

    needs_metrics: ClassVar[tuple[str, ...]] = ()

    def watch(self, training: StopContext) -> ShouldStop:
        """A rule that is always content."""
        return lambda epoch: None
