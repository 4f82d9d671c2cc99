"""Truth ratio: how likely wrong answers are beside the true one (TOFU)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unlearn_lab.data.corpus import Corpus, Probe
from unlearn_lab.evaluate.metric import Answers, LogLikelihood, Score
from unlearn_lab.evaluate.probes import Probes, loss, mean_score, scored

MEANS = ("geometric", "arithmetic")
BETTER = ("near_one", "low")


def truth_ratio(true_loss: float, wrong_losses: Sequence[float], mean: str) -> float:
    """Returns R = mean P(wrong) / P(true), from mean token losses in nats.

    The paper's mean over wrong answers is arithmetic (Maini et al., arXiv 2401.06121, section
    2.2.2); both public codes take the geometric one, and so do all published numbers.

    Args:
        true_loss: loss of the true answer's paraphrase (of the answer, where there is none).
        wrong_losses: losses of the wrong answers.
        mean: `geometric` or `arithmetic`.
    """
    losses = np.asarray(wrong_losses, dtype=np.float64)
    if mean == "geometric":
        return float(np.exp(true_loss - losses.mean()))
    return float(np.exp(true_loss - losses).mean())


def near_one(ratios: Float[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Returns min(R, 1/R): 1 where wrong answers are as likely as the true one."""
    return np.minimum(ratios, 1 / np.maximum(ratios, np.finfo(np.float64).tiny))


def low(ratios: Float[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """Returns max(0, 1 - R): 1 where wrong answers are impossible."""
    return np.maximum(0, 1 - ratios)


@dataclass(frozen=True, kw_only=True)
class TruthRatio:
    """Mean truth ratio x 100, by how near 1 it is or how low (TOFU, arXiv 2401.06121).

    On the forget set, TOFU reports min(R, 1/R): a model that never saw the authors should find
    wrong answers as likely as true ones. Elsewhere it reports max(0, 1 - R). `items` rows:
    question, true, ratio, score.

    Attributes:
        about: what the questions ask about, see `probes.ABOUT`.
        num_items: questions asked; None for all.
        mean: mean over wrong answers, see `truth_ratio`.
        better: `near_one` or `low`.
    """

    about: str
    num_items: int | None
    mean: str
    better: str

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown mean or direction, and as `Probes` does."""
        self._probes()
        for name, allowed in (("mean", MEANS), ("better", BETTER)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)}: must be {' or '.join(allowed)}")

    def missing(self, corpus: Corpus) -> str | None:
        """Reports missing questions, or missing wrong answers."""
        found = self._probes().missing(corpus)
        if found is None and any(not probe.wrong for probe in self._probes().of(corpus)):
            return "the corpus has no wrong answers"
        return found

    def requests(self, corpus: Corpus) -> Sequence[LogLikelihood]:
        """Returns a request per answer that counts, question by question."""
        return [
            scored(corpus, probe.question, answer)
            for probe in self._probes().of(corpus)
            for answer in (_true(probe), *probe.wrong)
        ]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the questions; raises `ValueError` when there are none."""
        reason = self.missing(corpus)
        if reason is not None:
            raise ValueError(f"TruthRatio: {reason}")
        probes = self._probes().of(corpus)
        ratios = np.asarray([self._ratio(corpus, answers, probe) for probe in probes])
        rows: list[dict[str, str | float]] = [
            {"question": probe.question, "true": probe.answer, "ratio": float(ratio)}
            for probe, ratio in zip(probes, ratios, strict=True)
        ]
        return mean_score(100 * (near_one if self.better == "near_one" else low)(ratios), rows)

    def _ratio(self, corpus: Corpus, answers: Answers, probe: Probe) -> float:
        true, *wrong = (
            loss(corpus, answers, probe.question, answer) for answer in (_true(probe), *probe.wrong)
        )
        return truth_ratio(true, wrong, self.mean)

    def _probes(self) -> Probes:
        return Probes(about=self.about, num_items=self.num_items)


def _true(probe: Probe) -> str:
    return probe.answer if probe.paraphrase is None else probe.paraphrase
