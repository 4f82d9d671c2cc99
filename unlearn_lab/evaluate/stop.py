"""Stop rules on scores: utility fell below a floor, or the model has forgotten."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unlearn_lab.config.build import build as make
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.evaluate.evaluate_stage import score_all
from unlearn_lab.evaluate.metric import AnyMetric
from unlearn_lab.evaluate.stored_scores import read_scores
from unlearn_lab.models.arithmetic import casts_once
from unlearn_lab.unlearn.training.stop import ShouldStop, StopContext

Values = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class UtilityFloor:
    """Stops after the first epoch whose utility is below `share` times the retrain control's.

    With `share` 1 this is the rule of MUSE (Shi et al., arXiv 2407.06460, section 4); the weights
    of that epoch are kept. Utility is measured every `every_epochs` epochs with the metric that
    `utility` names, as the control was. Raises `ValueError` unless both values are positive.
    """

    share: float
    every_epochs: int
    utility: str

    @property
    def needs_metrics(self) -> tuple[str, ...]:
        """The metric of utility."""
        return (self.utility,)

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ValueError(f"share={self.share}: must be above 0")
        _require_epochs(self.every_epochs)

    def watch(self, training: StopContext) -> ShouldStop:
        """Returns the rule; raises `ValueError` when the retrain control has no utility score."""
        score, control = _scorer(training, self.needs_metrics)
        floor = self.share * control[self.utility]

        def should_stop(epoch: int) -> str | None:
            if epoch % self.every_epochs:
                return None
            utility = score()[self.utility]
            return (
                f"utility {utility:.1f} fell below {floor:.1f} in epoch {epoch}"
                if utility < floor
                else None
            )

        return should_stop


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """Stops after the first epoch in which the model has forgotten and retains its utility.

    Methods, learning rates and dtypes stopped by this rule can be compared at equal forgetting in
    full precision, by their recovery under quantization. If the criterion is never met, training
    runs all epochs, and the record shows it. Raises `ValueError` for values other than those
    listed.

    Attributes:
        memories: metrics of what is left of the forget set, at least one.
        margin: points by which each memory may exceed the retrain control's, at least 0.
        utility: the metric of utility.
        utility_share: minimum utility as a share of the retrain control's, at least 0; 0 ignores
            utility.
        every_epochs: epochs between scorings, at least 1.
    """

    memories: tuple[str, ...]
    margin: float
    utility: str
    utility_share: float
    every_epochs: int

    @property
    def needs_metrics(self) -> tuple[str, ...]:
        """The memories, and utility if `utility_share` is above 0."""
        return (*self.memories, *([self.utility] if self.utility_share > 0 else []))

    def __post_init__(self) -> None:
        if not self.memories:
            raise ValueError("memories=[]: name at least one metric of eval.metrics")
        if self.margin < 0:
            raise ValueError(f"margin={self.margin}: must be 0 points or more")
        if self.utility_share < 0:
            raise ValueError(f"utility_share={self.utility_share}: must be 0 or more")
        _require_epochs(self.every_epochs)

    def watch(self, training: StopContext) -> ShouldStop:
        """Returns the rule; raises `ValueError` when the retrain control lacks a needed score."""
        score, control = _scorer(training, self.needs_metrics)

        def should_stop(epoch: int) -> str | None:
            if epoch % self.every_epochs:
                return None
            values = score()
            if any(values[name] > control[name] + self.margin for name in self.memories):
                return None
            if self.utility_share > 0 and (
                values[self.utility] < self.utility_share * control[self.utility]
            ):
                return None
            reached = ", ".join(f"{name} {value:.1f}" for name, value in values.items())
            return f"forgotten in epoch {epoch}: {reached}"

        return should_stop


def _scorer(training: StopContext, names: Sequence[str]) -> tuple[Callable[[], Values], Values]:
    """Returns a function that scores the model as the control was, and the control's scores."""
    control = training.inputs["retrain_scores"]
    known = control.stage.params["metrics"]
    for name in names:
        if not isinstance(known, Mapping) or name not in known:
            raise ValueError(
                f"trainer.stop: needs eval.metrics.{name}, which this evaluation does not have"
            )
    metrics = {name: make(known[name], AnyMetric, f"eval.metrics.{name}") for name in names}
    corpus, scores = read_corpus(training.inputs["corpus"]), read_scores(control)

    def score() -> Values:
        with casts_once(training.model, training.arithmetic):
            found = score_all(
                training.model, training.tokenizer, corpus, metrics, training.runtime.batch_tokens
            )
        return {name: found[name].value for name in names}

    return score, {name: scores[name].value for name in names}


def _require_epochs(every_epochs: int) -> None:
    if every_epochs < 1:
        raise ValueError(f"every_epochs={every_epochs}: must be at least 1")
