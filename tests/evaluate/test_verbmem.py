"""VerbMem on scripted answers."""

from dataclasses import replace

import pytest

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.metric import Continue, Metric
from unlearn_lab.evaluate.verbmem import VerbMem

METRIC = VerbMem(num_tokens=4, temperature=None, num_samples=1, seed=0)


def test_asks_for_one_continuation_a_prompt(corpus: Corpus) -> None:
    metric: Metric = METRIC
    assert metric.requests(corpus) == [Continue("once", 4), Continue("twice", 4)]


def test_compares_with_the_truncated_truth(corpus: Corpus, scripted: type) -> None:
    """Of "a b x y" against "a b c d": LCS 2 of 4 and 4, so F1 50; "a b" is right: mean 75."""
    answers = scripted(texts={"once": "a b x y", "twice": "a b"}, scores={})
    score = METRIC.score(corpus, answers)
    assert score.per_item == (50.0, 100.0)
    assert (score.value, score.low, score.high) == (75.0, 50.0, 100.0)
    assert score.items[0] == {"prompt": "once", "answer": "a b x y", "true": "a b c d", "score": 50}


def test_refuses_what_cannot_be_scored(corpus: Corpus, scripted: type) -> None:
    with pytest.raises(ValueError, match="num_tokens=0: must be at least 1"):
        replace(METRIC, num_tokens=0)
    with pytest.raises(ValueError, match=r"corpus\.verbatim is empty: VerbMem needs"):
        METRIC.score(replace(corpus, verbatim=()), scripted(texts={}, scores={}))
