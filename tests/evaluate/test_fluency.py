"""Fluency: words, entropies by hand, and its prompts."""

from dataclasses import replace
from math import log2

import pytest

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.fluency import Fluency, weighted_entropy, words
from unlearn_lab.evaluate.metric import Continue, Metric

METRIC = Fluency(prompt_words=2, num_tokens=9)


def test_words_are_parted_from_punctuation_sentence_by_sentence() -> None:
    expected = ["The", "cat", "sat", ".", "It", "is", "n't", "here", ",", "is", "it", "?"]
    assert words("The cat sat. It isn't here,\n\nis it?") == expected
    assert words("") == []


def test_entropy_by_hand() -> None:
    """Of "a b a b a" the bigrams are ab, ba twice each (1 bit), the trigrams aba twice, bab once.

    So H3 = log2(3) - 2/3 and the whole is (2/3 + 4/3 (log2(3) - 2/3)) / 2.
    """
    expected = (2 / 3 + 4 / 3 * (log2(3) - 2 / 3)) / 2
    assert weighted_entropy("ababa") == pytest.approx(expected)


def test_a_text_of_different_words_has_the_most_entropy_and_a_loop_none() -> None:
    """n different words: H2 = log2(n - 1), H3 = log2(n - 2)."""
    varied = [str(number) for number in range(66)]
    assert weighted_entropy(varied) == pytest.approx(log2(65) / 3 + 2 / 3 * 6)
    assert weighted_entropy(["so"] * 66) == 0
    assert weighted_entropy(["so"]) == weighted_entropy([]) == 0


def test_continues_the_beginnings_of_holdout_documents(corpus: Corpus, scripted: type) -> None:
    """Entropies of "a b c" (H2 = 1, H3 = 0), of a loop and of nothing: 100/3, 0 and 0."""
    told = replace(corpus, holdout_documents=("A  long\nstory", "Another one ends", "Short"))
    metric: Metric = METRIC
    prompts = ["A long", "Another one", "Short"]
    assert metric.requests(told) == [Continue(prompt, 9) for prompt in prompts]
    texts = dict(zip(prompts, ["a b c", "so so so so", ""], strict=True))
    score = metric.score(told, scripted(texts=texts, scores={}))
    assert score.per_item == pytest.approx((100 / 3, 0.0, 0.0))
    assert score.value == pytest.approx(100 / 9)
    assert score.low <= score.value <= score.high
    assert score.items[0]["prompt"] == "A long"
    assert score.items[0]["answer"] == "a b c"


def test_a_corpus_without_holdout_documents_cannot_serve_it(corpus: Corpus, scripted: type) -> None:
    without = replace(corpus, holdout_documents=())
    assert METRIC.missing(corpus) is None
    assert "no holdout documents" in METRIC.missing(without)
    with pytest.raises(ValueError, match=r"corpus\.holdout_documents is empty"):
        METRIC.score(without, scripted(texts={}, scores={}))


@pytest.mark.parametrize("field", ["prompt_words", "num_tokens"])
def test_refuses_empty_prompts_and_texts(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0: must be at least 1"):
        replace(METRIC, **{field: 0})
