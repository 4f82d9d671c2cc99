"""ROUGE-L recall of greedy answers to questions without examples (TOFU)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from unlearn_lab.data.corpus import Corpus, Probe
from unlearn_lab.evaluate.metric import Answers, Continue, Score
from unlearn_lab.evaluate.probes import ProbeMetric, mean_score

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


@cache
def _scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer  # with nltk, which takes a second to import

    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l_recall(true: str, answer: str) -> float:
    """Returns ROUGE-L recall from 0 to 1, of stemmed words, by Google's `rouge_score`."""
    return float(_scorer().score(target=true, prediction=answer)["rougeL"].recall)


@dataclass(frozen=True, kw_only=True)
class AnswerRecall(ProbeMetric):
    """Mean ROUGE-L recall x 100 of greedy answers (TOFU, Maini et al., arXiv 2401.06121).

    Words are stemmed, as in both public codes. `items` rows: question, answer, true, score.

    Attributes:
        about: what the questions ask about, see `probes.ABOUT`.
        num_items: questions asked; None for all.
        num_tokens: maximum number of tokens in an answer, at least 1.
        counts_prompt: whether `num_tokens` includes the prompt, as in locuslab's code; a long
            question then shortens its answer.
    """

    num_tokens: int
    counts_prompt: bool

    def __post_init__(self) -> None:
        """Raises `ValueError` for an empty answer, and as `ProbeMetric` does."""
        super().__post_init__()
        if self.num_tokens < 1:
            raise ValueError(f"num_tokens={self.num_tokens}: must be at least 1")

    def requests(self, corpus: Corpus) -> Sequence[Continue]:
        """Returns a request per question."""
        return [self._request(corpus, probe) for probe in self._asked(corpus)]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the questions; raises `ValueError` when there are none."""
        rows: list[dict[str, str | float]] = []
        values = []
        for probe in self.measured(corpus):
            given = answers.text(self._request(corpus, probe))
            rows.append({"question": probe.question, "answer": given, "true": probe.answer})
            values.append(100 * rouge_l_recall(probe.answer, given))
        return mean_score(np.asarray(values), rows)

    def _request(self, corpus: Corpus, probe: Probe) -> Continue:
        return Continue(
            prompt=probe.question,
            num_tokens=self.num_tokens,
            template=corpus.template,
            counts_prompt=self.counts_prompt,
        )
