"""Decides how similar an answer and the ground truth are: ROUGE-L F1, without a stemmer."""

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING

from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.statistics import NUM_RESAMPLES, SEED, mean_interval

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


@cache
def _scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer  # with nltk, which takes a second to import

    return RougeScorer(["rougeL"], use_stemmer=False)


def rouge_l(true: str, answer: str) -> float:
    """Returns ROUGE-L F1 from 0 to 1, by Google's `rouge_score` without a stemmer.

    Its words are runs of a-z and 0-9 after lower-casing. Text in another script therefore has no
    words and scores 0. open-unlearning stems first; MUSE and this function do not.
    """
    return float(_scorer().score(target=true, prediction=answer)["rougeL"].fmeasure)


def score_answers(rows: Sequence[Mapping[str, str]]) -> Score:
    """Returns mean ROUGE-L F1 x 100 over rows with `answer` and `true`; `items` add the `score`.

    Raises `ValueError` when there are no rows.
    """
    return score_samples([rows])


def score_samples(samples: Sequence[Sequence[Mapping[str, str]]]) -> Score:
    """Returns the same as `score_answers`, where an item's score is the mean over its samples.

    Each entry of `samples` contains one row per item, in the same order; `items` are all rows,
    sample by sample. Raises `ValueError` when there are no rows.
    """
    rows = [row for sample in samples for row in sample]
    if not rows:
        raise ValueError("no answers to score: the mean of nothing is undefined")
    scores = [100 * rouge_l(row["true"], row["answer"]) for row in rows]
    num_items = len(samples[0])
    per_item = tuple(fmean(scores[place::num_items]) for place in range(num_items))
    low, high = mean_interval(per_item, num_resamples=NUM_RESAMPLES, seed=SEED)
    return Score(
        value=sum(per_item) / len(per_item),
        low=low,
        high=high,
        per_item=per_item,
        items=tuple({**row, "score": score} for row, score in zip(rows, scores, strict=True)),
    )
