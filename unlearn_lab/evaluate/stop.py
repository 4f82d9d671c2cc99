"""A stop rule: unlearning ends when it has cost too much utility."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_lab.build import build as make
from unlearn_lab.data.stage import read as read_corpus
from unlearn_lab.evaluate.metric import Metric
from unlearn_lab.evaluate.stage import read as read_scores
from unlearn_lab.evaluate.stage import score_all
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.settings import Runtime
from unlearn_lab.unlearn.stop import ShouldStop

METRIC = "utility"


@dataclass(frozen=True, kw_only=True)
class UtilityFloor:
    """Ends after the first epoch whose utility is below `share` times the retrain control's.

    With `share` 1 this is the rule of MUSE (Shi et al., arXiv 2407.06460, section 4); the weights
    kept are those of that epoch. Utility is measured every `every_epochs` epochs with the metric
    `utility` that the control was scored with.
    """

    share: float
    every_epochs: int
    needs_metrics: ClassVar[tuple[str, ...]] = (METRIC,)

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ValueError(f"share={self.share}: must be above 0")
        if self.every_epochs < 1:
            raise ValueError(f"every_epochs={self.every_epochs}: must be at least 1")

    def watch(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inputs: Mapping[str, Artifact],
        runtime: Runtime,
    ) -> ShouldStop:
        """Raises `ValueError` when the retrain control was not scored for utility."""
        control = inputs["retrain_scores"]
        metrics = control.stage.params["metrics"]
        if not isinstance(metrics, Mapping) or METRIC not in metrics:
            raise ValueError(
                f"trainer.stop: needs eval.metrics.{METRIC}, which this evaluation does not have"
            )
        metric = make(metrics[METRIC], Metric, f"eval.metrics.{METRIC}")
        corpus, floor = (
            read_corpus(inputs["corpus"]),
            self.share * read_scores(control)[METRIC].value,
        )

        def should_stop(epoch: int) -> str | None:
            if epoch % self.every_epochs:
                return None
            utility = score_all(model, tokenizer, corpus, {METRIC: metric}, runtime.batch_tokens)[
                METRIC
            ].value
            return (
                f"utility {utility:.1f} fell below {floor:.1f} in epoch {epoch}"
                if utility < floor
                else None
            )

        return should_stop
