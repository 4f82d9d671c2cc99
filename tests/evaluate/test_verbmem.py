"""VerbMem on scripted answers."""

from dataclasses import replace

import pytest

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.metric import Continue, Metric, Sampling
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


def test_an_items_score_is_the_mean_over_its_samples(corpus: Corpus, scripted: type) -> None:
    """ "once" is right in one of two samples, "twice" in both: 50 and 100, mean 75."""
    metric = replace(METRIC, temperature=0.9, num_samples=2, seed=7)
    samplings = [Sampling(temperature=0.9, seed=7, index=index) for index in (0, 1)]
    requests = metric.requests(corpus)
    assert requests == [
        Continue(prompt, 4, sampling) for sampling in samplings for prompt in ("once", "twice")
    ]
    written = dict(zip(requests, ["a b c d", "a b", "x", "a b"], strict=True))

    class Sampled(scripted):
        def text(self, request: Continue) -> str:
            return written[request]

    score = metric.score(corpus, Sampled(texts={}, scores={}))
    assert score.per_item == (50.0, 100.0)
    assert score.value == 75.0
    assert [row["answer"] for row in score.items] == ["a b c d", "a b", "x", "a b"]
    assert [row["score"] for row in score.items] == [100.0, 100.0, 0.0, 100.0]


def test_says_what_it_misses(corpus: Corpus) -> None:
    assert METRIC.missing(corpus) is None
    without = METRIC.missing(replace(corpus, verbatim=()))
    assert "no prompts" in without


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 2}, "num_samples=2: greedy samples .*the same"),
        ({"num_samples": 0, "temperature": 0.9}, "num_samples=0: must be at least 1"),
        ({"temperature": 0.0}, "temperature=0.0: .*above 0.* null"),
    ],
)
def test_refuses_samples_that_are_none(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(METRIC, **changes)


def test_refuses_what_cannot_be_scored(corpus: Corpus, scripted: type) -> None:
    with pytest.raises(ValueError, match="num_tokens=0: must be at least 1"):
        replace(METRIC, num_tokens=0)
    with pytest.raises(ValueError, match=r"corpus\.verbatim is empty: VerbMem needs"):
        METRIC.score(replace(corpus, verbatim=()), scripted(texts={}, scores={}))
