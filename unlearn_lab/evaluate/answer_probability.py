"""Probability of true answers, alone or among wrong ones (TOFU)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlearn_lab.data.corpus import Corpus, Probe
from unlearn_lab.evaluate.metric import Answers, LogLikelihood, Score
from unlearn_lab.evaluate.probes import ProbeMetric, loss, mean_score, scored


@dataclass(frozen=True, kw_only=True)
class AnswerProbability(ProbeMetric):
    """Mean P(answer | question) x 100 (TOFU, Maini et al., arXiv 2401.06121, section 2.2.1).

    P is the geometric mean of the probabilities of the answer's tokens and EOS,
    exp(-mean negative log-likelihood). With `among_wrong`, each is divided by the sum over the true
    and the wrong answers, as for real authors and world facts, where guessing among `n` gives 1/n.
    `items` rows: question, true, score.

    Attributes:
        about: what the questions ask about, see `probes.ABOUT`.
        num_items: questions asked; None for all.
        among_wrong: whether to divide by the sum over all answers of a question.
    """

    among_wrong: bool

    @property
    def needs_wrong(self) -> bool:
        """Whether wrong answers count."""
        return self.among_wrong

    def requests(self, corpus: Corpus) -> Sequence[LogLikelihood]:
        """Returns a request per answer that counts, question by question."""
        return [
            scored(corpus, probe.question, answer)
            for probe in self._asked(corpus)
            for answer in self._answers(probe)
        ]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the questions; raises `ValueError` when there are none."""
        probes = self.measured(corpus)
        values = [100 * self._probability(corpus, answers, probe) for probe in probes]
        rows = [{"question": probe.question, "true": probe.answer} for probe in probes]
        return mean_score(np.asarray(values), rows)

    def _probability(self, corpus: Corpus, answers: Answers, probe: Probe) -> float:
        """Returns a probability that is defined however unlikely all answers are."""
        logs = [-loss(corpus, answers, probe.question, answer) for answer in self._answers(probe)]
        whole = float(np.logaddexp.reduce(logs)) if self.among_wrong else 0.0
        return math.exp(logs[0] - whole)

    def _answers(self, probe: Probe) -> tuple[str, ...]:
        """Returns the true answer first."""
        return (probe.answer, *(probe.wrong if self.among_wrong else ()))
