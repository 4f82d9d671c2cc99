"""Probability of true answers, alone or among wrong ones (TOFU)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlearn_lab.data.corpus import Corpus, Probe
from unlearn_lab.evaluate.metric import Answers, LogLikelihood, Score
from unlearn_lab.evaluate.probes import Probes, loss, mean_score, scored


@dataclass(frozen=True, kw_only=True)
class AnswerProbability:
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

    about: str
    num_items: int | None
    among_wrong: bool

    def __post_init__(self) -> None:
        """Raises `ValueError` as `Probes` does."""
        self._probes()

    def missing(self, corpus: Corpus) -> str | None:
        """Reports missing questions, or missing wrong answers if they are needed."""
        found = self._probes().missing(corpus)
        if (
            found is None
            and self.among_wrong
            and any(not probe.wrong for probe in self._probes().of(corpus))
        ):
            return "the corpus has no wrong answers"
        return found

    def requests(self, corpus: Corpus) -> Sequence[LogLikelihood]:
        """Returns a request per answer that counts, question by question."""
        return [
            scored(corpus, probe.question, answer)
            for probe in self._probes().of(corpus)
            for answer in self._answers(probe)
        ]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the questions; raises `ValueError` when there are none."""
        reason = self.missing(corpus)
        if reason is not None:
            raise ValueError(f"AnswerProbability: {reason}")
        probes = self._probes().of(corpus)
        values = []
        for probe in probes:
            each = [
                math.exp(-loss(corpus, answers, probe.question, answer))
                for answer in self._answers(probe)
            ]
            values.append(100 * each[0] / (sum(each) if self.among_wrong else 1))
        rows = [{"question": probe.question, "true": probe.answer} for probe in probes]
        return mean_score(np.asarray(values), rows)

    def _answers(self, probe: Probe) -> tuple[str, ...]:
        """Returns the true answer first."""
        return (probe.answer, *(probe.wrong if self.among_wrong else ()))

    def _probes(self) -> Probes:
        return Probes(about=self.about, num_items=self.num_items)
