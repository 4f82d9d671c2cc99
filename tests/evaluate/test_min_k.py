"""Min-K% and its AUC against a straightforward re-implementation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.metric import LogLikelihood, Metric
from unlearn_lab.evaluate.min_k import MinK, document_counts, min_k_score
from unlearn_lab.evaluate.statistics import area, pairwise_wins, resampled_areas

METRIC = MinK(fraction=0.4, num_tokens=50)
quick = settings(max_examples=60, deadline=None)
log_probabilities = st.lists(st.floats(-30, 0, width=32), min_size=1, max_size=30)
scores = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=8)


@quick
@given(log_probabilities, st.sampled_from([0.05, 0.2, 0.4, 1.0]))
def test_score_equals_a_plain_loop(values: list[float], fraction: float) -> None:
    num = int(len(values) * fraction) or 1
    expected = -sum(sorted(values)[:num]) / num
    assert min_k_score(torch.tensor(values), fraction) == pytest.approx(expected, abs=1e-9)


def test_score_by_hand() -> None:
    """40 % of 5 tokens are 2: the lowest are -4 and -3, so the score is 3.5; of 2 tokens, 1."""
    assert min_k_score(torch.tensor([-1.0, -4.0, -2.0, -3.0, -0.5]), 0.4) == 3.5
    assert min_k_score(torch.tensor([-1.0, -7.0]), 0.4) == 7.0


@quick
@given(scores, scores)
def test_area_equals_counting_pairs(forget: list[float], holdout: list[float]) -> None:
    pairs = [(f > h) + 0.5 * (f == h) for f in forget for h in holdout]
    wins = pairwise_wins(np.array(forget), np.array(holdout))
    assert area(wins) == pytest.approx(sum(pairs) / len(pairs))


def test_ties_count_half() -> None:
    assert area(pairwise_wins(np.array([1.0, 1.0]), np.array([1.0]))) == 0.5


@quick
@given(scores, scores, st.integers(0, 99))
def test_resampled_areas_equal_the_areas_of_resampled_documents(
    forget: list[float], holdout: list[float], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    f = np.bincount(generator.integers(len(forget), size=len(forget)), minlength=len(forget))
    h = np.bincount(generator.integers(len(holdout), size=len(holdout)), minlength=len(holdout))
    expected = area(pairwise_wins(np.repeat(forget, f), np.repeat(holdout, h)))
    wins = pairwise_wins(np.array(forget), np.array(holdout))
    assert resampled_areas(wins, f[None], h[None])[0] == pytest.approx(expected)


def test_forget_and_holdout_are_drawn_independently() -> None:
    forget, holdout = document_counts(5, 5)
    assert not np.array_equal(forget, holdout)


def test_asks_for_forget_and_then_holdout_documents(corpus: Corpus) -> None:
    metric: Metric = METRIC
    assert metric.requests(corpus) == [
        LogLikelihood(text, 50) for text in ("f1", "f2", "h1", "h2", "h3")
    ]


def test_memorised_texts_have_an_area_near_zero(corpus: Corpus, scripted: type) -> None:
    """Forget scores 1 and 3 against holdout 2, 3 and 4: wins 0 0 0, 1 1/2 0: 1.5 of 6 = 25 %."""
    lowest = {"f1": -1.0, "f2": -3.0, "h1": -2.0, "h2": -3.0, "h3": -4.0}
    answers = scripted(texts={}, scores={text: [v, 0.0, 0.0] for text, v in lowest.items()})
    score = METRIC.score(corpus, answers)
    assert score.value == 25.0
    assert score.per_item == (1.0, 3.0, 2.0, 3.0, 4.0)
    assert 0.0 <= score.low <= 25.0 <= score.high <= 100.0
    assert score.low < score.high
    assert score.items[0] == {"text": "f1", "split": "forget", "score": 1.0}
    assert [row["split"] for row in score.items] == ["forget"] * 2 + ["holdout"] * 3


def test_says_which_documents_it_misses(corpus: Corpus) -> None:
    assert METRIC.missing(corpus) is None
    for split in ("forget", "holdout"):
        without = replace(corpus, **{f"{split}_documents": ()})
        assert f"no {split} documents" in METRIC.missing(without)


@pytest.mark.parametrize("field", ["forget_documents", "holdout_documents"])
def test_refuses_a_corpus_without_documents(corpus: Corpus, scripted: type, field: str) -> None:
    with pytest.raises(ValueError, match=f"corpus.{field} is empty"):
        METRIC.score(replace(corpus, **{field: ()}), scripted(texts={}, scores={}))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_refuses_a_fraction_that_is_none(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"fraction={fraction}: .*above 0 .*at most 1"):
        MinK(fraction=fraction, num_tokens=1)


def test_refuses_empty_texts() -> None:
    with pytest.raises(ValueError, match="num_tokens=0: must be at least 1"):
        MinK(fraction=0.4, num_tokens=0)
