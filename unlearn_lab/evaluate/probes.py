"""Probes of a corpus: the questions of TOFU's metrics, and the requests to score their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unlearn_lab.data.corpus import Corpus, Probe
from unlearn_lab.evaluate.metric import Answers, LogLikelihood, Score
from unlearn_lab.evaluate.statistics import NUM_RESAMPLES, SEED, mean_interval

ABOUT = ("forget", "retain", "real_authors", "world_facts")


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The questions that a metric asks.

    Attributes:
        about: what they ask about, one of `ABOUT`.
        num_items: how many are asked, from the first; None for all.
    """

    about: str
    num_items: int | None

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown subject or no questions."""
        if self.about not in ABOUT:
            raise ValueError(f"about={self.about}: must be one of {', '.join(ABOUT)}")
        if self.num_items is not None and self.num_items < 1:
            raise ValueError(f"num_items={self.num_items}: must be at least 1, or null for all")

    def of(self, corpus: Corpus) -> tuple[Probe, ...]:
        """Returns the questions; empty if the corpus has none."""
        return corpus.probes.get(self.about, ())[: self.num_items]

    def missing(self, corpus: Corpus) -> str | None:
        """Reports that the corpus has no such questions."""
        what = self.about.replace("_", " ")
        what = f"the {what} set" if self.about in ("forget", "retain") else what
        return None if self.of(corpus) else f"the corpus has no probes about {what}"


def scored(corpus: Corpus, question: str, answer: str) -> LogLikelihood:
    """Returns the request for the log-probabilities of an answer."""
    return LogLikelihood(text=answer, num_tokens=None, question=question, template=corpus.template)


def loss(corpus: Corpus, answers: Answers, question: str, answer: str) -> float:
    """Returns the mean negative log-likelihood of an answer's tokens and EOS, in nats."""
    values = answers.log_probabilities(scored(corpus, question, answer))
    return -float(values.double().mean())


def mean_score(
    values: Float[np.ndarray, " items"], rows: Sequence[Mapping[str, str | float]]
) -> Score:
    """Returns the mean of per-item values with its interval.

    Args:
        values: one value per item, in points of 0-100.
        rows: a row of the sample table per item, without the score.
    """
    per_item = tuple(float(value) for value in values)
    low, high = mean_interval(per_item, num_resamples=NUM_RESAMPLES, seed=SEED)
    return Score(
        value=float(np.mean(per_item)),
        low=low,
        high=high,
        per_item=per_item,
        items=tuple({**row, "score": one} for row, one in zip(rows, per_item, strict=True)),
    )
