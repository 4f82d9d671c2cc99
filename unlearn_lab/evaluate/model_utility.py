"""Model utility: the harmonic mean of nine scores on what is not to be forgotten (TOFU)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.answer_probability import AnswerProbability
from unlearn_lab.evaluate.answer_recall import AnswerRecall
from unlearn_lab.evaluate.metric import Answers, Metric, ModelQuery, Score
from unlearn_lab.evaluate.statistics import (
    NUM_RESAMPLES,
    SEED,
    interval,
    resample_counts,
    resampled_means,
)
from unlearn_lab.evaluate.truth_ratio import TruthRatio

KEPT = ("retain", "real_authors", "world_facts")


def harmonic_mean(values: Float[np.ndarray, "*draws values"]) -> Float[np.ndarray, "*draws"]:
    """Returns the harmonic mean over the last axis; 0 where any value is 0."""
    positive = (values > 0).all(axis=-1)
    inverse = 1 / np.where(values > 0, values, 1)
    return np.where(positive, values.shape[-1] / inverse.sum(axis=-1), 0.0)


@dataclass(frozen=True, kw_only=True)
class ModelUtility:
    """Harmonic mean x 100 of three scores on each of three kinds of questions.

    The scores are probability, ROUGE-L recall and truth ratio; the kinds are retain set, real
    authors and world facts (TOFU, Maini et al., arXiv 2401.06121, section 2.2.1). One score near 0
    makes all of it 0. Resamples of the three kinds are independent; the three scores of a kind
    share them. `per_item` contains the nine scores, and `items` rows are these: name, score.

    Attributes:
        num_items: questions asked of each kind; None for all.
        num_tokens: maximum number of tokens in an answer.
        counts_prompt: whether `num_tokens` includes the prompt.
        mean: mean over wrong answers, see `truth_ratio.log_truth_ratio`.
    """

    num_items: int | None
    num_tokens: int
    counts_prompt: bool
    mean: str

    def __post_init__(self) -> None:
        """Raises `ValueError` as the nine metrics do."""
        self._nine()

    def missing(self, corpus: Corpus) -> str | None:
        """Reports what is missing for the first of the nine that cannot be measured."""
        found = (metric.missing(corpus) for metric in self._nine().values())
        return next((reason for reason in found if reason is not None), None)

    def requests(self, corpus: Corpus) -> Sequence[ModelQuery]:
        """Returns the requests of the nine metrics."""
        return [one for metric in self._nine().values() for one in metric.requests(corpus)]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the harmonic mean; raises `ValueError` when one of the nine has no questions."""
        scores = {name: metric.score(corpus, answers) for name, metric in self._nine().items()}
        return combined(scores)

    def _nine(self) -> Mapping[str, Metric]:
        nine: dict[str, Metric] = {}
        for about in KEPT:
            nine[f"{about}.probability"] = AnswerProbability(
                about=about, num_items=self.num_items, among_wrong=about != "retain"
            )
            nine[f"{about}.recall"] = AnswerRecall(
                about=about,
                num_items=self.num_items,
                num_tokens=self.num_tokens,
                counts_prompt=self.counts_prompt,
            )
            nine[f"{about}.truth_ratio"] = TruthRatio(
                about=about, num_items=self.num_items, mean=self.mean, better="low"
            )
        return nine


def combined(scores: Mapping[str, Score]) -> Score:
    """Returns the harmonic mean of scores named "kind.metric", with its interval."""
    draws = []
    for place, about in enumerate(dict.fromkeys(name.partition(".")[0] for name in scores)):
        for name, score in scores.items():
            if name.partition(".")[0] == about:
                counts = resample_counts(
                    len(score.per_item), num_resamples=NUM_RESAMPLES, seed=SEED + place
                )
                draws.append(resampled_means(np.asarray(score.per_item), counts))
    low, high = interval(harmonic_mean(np.stack(draws, axis=1)))
    values = tuple(score.value for score in scores.values())
    return Score(
        value=float(harmonic_mean(np.asarray(values))),
        low=low,
        high=high,
        per_item=values,
        items=tuple({"name": name, "score": score.value} for name, score in scores.items()),
    )
