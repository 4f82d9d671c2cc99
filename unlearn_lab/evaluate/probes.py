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
class ProbeMetric:
    """Base of metrics over probes: which questions are asked, and what a corpus lacks for it.

    Attributes:
        about: what the questions ask about, one of `ABOUT`.
        num_items: questions asked, from the first; None for all.
    """

    about: str
    num_items: int | None

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown subject or no questions."""
        require_one_of("about", self.about, ABOUT)
        if self.num_items is not None and self.num_items < 1:
            raise ValueError(f"num_items={self.num_items}: must be at least 1, or null for all")

    @property
    def needs_wrong(self) -> bool:
        """Whether the metric compares with wrong answers."""
        return False

    def missing(self, corpus: Corpus) -> str | None:
        """Reports missing questions, or missing wrong answers if they are needed."""
        probes = self._asked(corpus)
        what = self.about.replace("_", " ")
        what = f"the {what} set" if self.about in ("forget", "retain") else what
        if not probes:
            return f"the corpus has no probes about {what}"
        if self.needs_wrong and not all(probe.wrong for probe in probes):
            return "the corpus has no wrong answers"
        return None

    def measured(self, corpus: Corpus) -> tuple[Probe, ...]:
        """Returns the questions; raises `ValueError` where `missing` reports something."""
        reason = self.missing(corpus)
        if reason is not None:
            raise ValueError(f"{type(self).__name__}: {reason}")
        return self._asked(corpus)

    def _asked(self, corpus: Corpus) -> tuple[Probe, ...]:
        return corpus.probes.get(self.about, ())[: self.num_items]


def require_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raises `ValueError` unless the value of a setting is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}={value}: must be one of {', '.join(allowed)}")


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
