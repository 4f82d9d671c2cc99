"""Min-K%: membership inference on forget texts from their least likely tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.metric import Answers, LogLikelihood, Score
from unlearn_lab.evaluate.statistics import (
    NUM_RESAMPLES,
    SEED,
    area,
    interval,
    pairwise_wins,
    resample_counts,
    resampled_areas,
)


@dataclass(frozen=True, kw_only=True)
class MinK:
    """AUC x 100 of the Min-K% score of forget against holdout documents (Shi et al., 2310.16789).

    A text's score is minus the mean of its lowest `fraction` of token log-probabilities, over its
    first `num_tokens` tokens (None for all). AUC = P(score of forget > score of holdout), ties
    count half. Memorised text has low scores, hence an AUC near 0. MUSE's code does not truncate
    texts. `items` rows: text, split, score; `per_item` contains the scores in nats per token.
    """

    fraction: float
    num_tokens: int | None

    def __post_init__(self) -> None:
        """Raises `ValueError` for a fraction outside (0, 1] or an empty text."""
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction}: must be above 0 and at most 1")
        if self.num_tokens is not None and self.num_tokens < 1:
            raise ValueError(f"num_tokens={self.num_tokens}: must be at least 1")

    def missing(self, corpus: Corpus) -> str | None:
        """Reports missing documents of either split."""
        for split in ("forget", "holdout"):
            if not getattr(corpus, f"{split}_documents"):
                return f"the corpus has no {split} documents"
        return None

    def requests(self, corpus: Corpus) -> Sequence[LogLikelihood]:
        """Returns one request per forget document, then one per holdout document."""
        return [self._request(text) for _, text in _documents(corpus)]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the AUC over the documents; raises `ValueError` when either split has none."""
        for field in ("forget_documents", "holdout_documents"):
            if not getattr(corpus, field):
                raise ValueError(
                    f"corpus.{field} is empty: MinK compares forget with holdout documents"
                )
        rows = [
            {"text": text, "split": split, "score": self._score(answers, text)}
            for split, text in _documents(corpus)
        ]
        per_item = tuple(float(row["score"]) for row in rows)
        num_forget = len(corpus.forget_documents)
        wins = pairwise_wins(np.asarray(per_item[:num_forget]), np.asarray(per_item[num_forget:]))
        low, high = interval(100 * resampled_areas(wins, *document_counts(*wins.shape)))
        return Score(
            value=100 * area(wins), low=low, high=high, per_item=per_item, items=tuple(rows)
        )

    def _score(self, answers: Answers, text: str) -> float:
        return min_k_score(answers.log_probabilities(self._request(text)), self.fraction)

    def _request(self, text: str) -> LogLikelihood:
        return LogLikelihood(text=text, num_tokens=self.num_tokens)


def min_k_score(log_probabilities: Float[Tensor, " tokens"], fraction: float) -> float:
    """Returns minus the mean of the lowest `fraction` of log-probabilities, in nats per token.

    The number of tokens is rounded down, as in MUSE's code, but is at least one (MUSE's code
    returns NaN for none).
    """
    num_lowest = max(1, int(len(log_probabilities) * fraction))
    return -float(log_probabilities.double().sort().values[:num_lowest].mean())


def document_counts(num_forget: int, num_holdout: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns bootstrap counts of forget and of holdout documents, drawn independently."""
    return (
        resample_counts(num_forget, num_resamples=NUM_RESAMPLES, seed=SEED),
        resample_counts(num_holdout, num_resamples=NUM_RESAMPLES, seed=SEED + 1),
    )


def _documents(corpus: Corpus) -> Iterator[tuple[str, str]]:
    for text in corpus.forget_documents:
        yield "forget", text
    for text in corpus.holdout_documents:
        yield "holdout", text
