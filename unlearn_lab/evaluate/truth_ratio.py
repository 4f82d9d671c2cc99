"""Truth ratio: how likely wrong answers are beside the true one (TOFU)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unlearn_lab.data.corpus import Corpus, Probe
from unlearn_lab.evaluate.metric import Answers, LogLikelihood, Score
from unlearn_lab.evaluate.probes import ProbeMetric, loss, mean_score, require_one_of, scored

MEANS = ("geometric", "arithmetic")
BETTER = ("near_one", "low")


def log_truth_ratio(true_loss: float, wrong_losses: Sequence[float], mean: str) -> float:
    """Returns log R in nats, with R = mean P(wrong) / P(true), from mean token losses in nats.

    As a logarithm, because R itself overflows for models whose losses are large. The paper's mean
    over wrong answers is arithmetic (Maini et al., arXiv 2401.06121, section 2.2.2); both public
    codes take the geometric one, and so do all published numbers.

    Args:
        true_loss: loss of the true answer's paraphrase (of the answer, where there is none).
        wrong_losses: losses of the wrong answers, at least one.
        mean: `geometric` or `arithmetic`.
    """
    logs = true_loss - np.asarray(wrong_losses, dtype=np.float64)
    if mean == "geometric":
        return float(logs.mean())
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))


def near_one(log_ratios: Float[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Returns min(R, 1/R): 1 where wrong answers are as likely as the true one."""
    return np.exp(-np.abs(log_ratios))


def low(log_ratios: Float[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Returns max(0, 1 - R): 1 where wrong answers are impossible."""
    return -np.expm1(np.minimum(log_ratios, 0))


@dataclass(frozen=True, kw_only=True)
class TruthRatio(ProbeMetric):
    """Mean truth ratio x 100, by how near 1 it is or how low (TOFU, arXiv 2401.06121).

    On the forget set, TOFU reports min(R, 1/R): a model that never saw the authors should find
    wrong answers as likely as true ones. Elsewhere it reports max(0, 1 - R). `items` rows:
    question, true, log_ratio (nats), score.

    Attributes:
        about: what the questions ask about, see `probes.ABOUT`.
        num_items: questions asked; None for all.
        mean: mean over wrong answers, see `log_truth_ratio`.
        better: `near_one` or `low`.
    """

    mean: str
    better: str

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown mean or direction, and as `ProbeMetric` does."""
        super().__post_init__()
        require_one_of("mean", self.mean, MEANS)
        require_one_of("better", self.better, BETTER)

    @property
    def needs_wrong(self) -> bool:
        """Always: a ratio of wrong to true answers."""
        return True

    def requests(self, corpus: Corpus) -> Sequence[LogLikelihood]:
        """Returns a request per answer that counts, question by question."""
        return [
            scored(corpus, probe.question, answer)
            for probe in self._asked(corpus)
            for answer in (_true(probe), *probe.wrong)
        ]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the questions; raises `ValueError` when there are none."""
        probes = self.measured(corpus)
        logs = np.asarray([self._log_ratio(corpus, answers, probe) for probe in probes])
        rows: list[dict[str, str | float]] = [
            {"question": probe.question, "true": probe.answer, "log_ratio": float(value)}
            for probe, value in zip(probes, logs, strict=True)
        ]
        return mean_score(100 * (near_one if self.better == "near_one" else low)(logs), rows)

    def _log_ratio(self, corpus: Corpus, answers: Answers, probe: Probe) -> float:
        true, *wrong = (
            loss(corpus, answers, probe.question, answer) for answer in (_true(probe), *probe.wrong)
        )
        return log_truth_ratio(true, wrong, self.mean)


def _true(probe: Probe) -> str:
    return probe.answer if probe.paraphrase is None else probe.paraphrase
