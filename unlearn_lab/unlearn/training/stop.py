"""Stop rules: decide when unlearning ends before its last epoch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.arithmetic import Arithmetic

ShouldStop = Callable[[int], str | None]
"""Called after each epoch (counted from 1); a returned reason ends the training."""


@dataclass(frozen=True, kw_only=True)
class StopContext:
    """The training that a stop rule observes.

    Attributes:
        model: the model in training.
        tokenizer: its tokenizer.
        inputs: the artifact `corpus` and, for rules with `needs_metrics`, `retrain_scores`.
        runtime: limits of the evaluation, such as `batch_tokens`.
        arithmetic: dtype of the training's products, in which it is scored as well.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    inputs: Mapping[str, Artifact]
    runtime: Runtime
    arithmetic: Arithmetic = "fp32"


@runtime_checkable
class StopRule(Protocol):
    """Decides after each epoch whether training ends, possibly from metrics of the evaluation."""

    @property
    def needs_metrics(self) -> tuple[str, ...]:
        """Metrics that the evaluation must include."""
        ...

    def watch(self, training: StopContext) -> ShouldStop:
        """Returns the function to call after each epoch of this training."""
        ...


@dataclass(frozen=True, kw_only=True)
class FixedEpochs:
    """Never stops early."""

    needs_metrics: ClassVar[tuple[str, ...]] = ()

    def watch(self, training: StopContext) -> ShouldStop:
        """Returns a function that never stops the training."""
        return lambda epoch: None
