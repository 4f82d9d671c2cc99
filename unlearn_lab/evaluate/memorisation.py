"""Memorisation of answers word for word: which of their tokens the model finds the likeliest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.metric import Answers, LogLikelihood, Score
from unlearn_lab.evaluate.probes import ProbeMetric, mean_score, require_one_of, scored

FIGURES = ("exact", "extraction")


def exact_share(likeliest: Bool[np.ndarray, " tokens"]) -> float:
    """Returns the share of tokens that are the likeliest after the true ones before them."""
    return float(likeliest.mean())


def extraction_strength(likeliest: Bool[np.ndarray, " tokens"]) -> float:
    """Returns the share of tokens that the model completes: 1 - k/T.

    k is the smallest number of true tokens after which all others are the likeliest (Carlini et
    al., arXiv 2012.07805, as in open-unlearning). open-unlearning's code gives 1/T where the last
    token is wrong, here it is 0.
    """
    wrong = np.flatnonzero(~likeliest)
    return 1 - (int(wrong[-1]) + 1) / len(likeliest) if len(wrong) else 1.0


@dataclass(frozen=True, kw_only=True)
class Memorisation(ProbeMetric):
    """Mean exact memorisation or extraction strength x 100 of the true answers.

    Every token is predicted after the true ones before it; EOS does not count. `items` rows:
    question, true, score.

    Attributes:
        about: what the questions ask about, see `probes.ABOUT`.
        num_items: questions asked; None for all.
        figure: `exact` (`exact_share`) or `extraction` (`extraction_strength`).
    """

    figure: str

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown figure, and as `ProbeMetric` does."""
        super().__post_init__()
        require_one_of("figure", self.figure, FIGURES)

    def requests(self, corpus: Corpus) -> Sequence[LogLikelihood]:
        """Returns a request per question."""
        return [scored(corpus, probe.question, probe.answer) for probe in self._asked(corpus)]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the questions; raises `ValueError` when there are none."""
        probes = self.measured(corpus)
        measure = exact_share if self.figure == "exact" else extraction_strength
        values = [
            100 * measure(answers.likeliest(request).numpy()) for request in self.requests(corpus)
        ]
        rows = [{"question": probe.question, "true": probe.answer} for probe in probes]
        return mean_score(np.asarray(values), rows)
