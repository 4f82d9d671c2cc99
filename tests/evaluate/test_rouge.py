"""ROUGE-L F1 against the package called directly and against numbers worked out by hand."""

import pytest
from rouge_score.rouge_scorer import RougeScorer

from unlearn_lab.evaluate.rouge import rouge_l, score_answers


@pytest.mark.parametrize(
    ("true", "answer"),
    [
        ("the cat sat on the mat", "the dog sat on a mat"),
        ("He was RUNNING, fast!", "he runs fast"),
        ("a b c", "c b a"),
        ("short", "a much longer answer that holds the short word"),
    ],
)
def test_equals_the_package_without_a_stemmer(true: str, answer: str) -> None:
    direct = RougeScorer(["rougeL"], use_stemmer=False).score(true, answer)["rougeL"].fmeasure
    assert rouge_l(true, answer) == direct


def test_by_hand() -> None:
    """LCS "sat mat" of 3 true and 4 answered words: P = 2/4, R = 2/3, F1 = 4/7."""
    assert rouge_l("cat sat mat", "dog sat a mat") == pytest.approx(4 / 7)


def test_is_not_stemmed_and_ignores_case_and_punctuation() -> None:
    assert rouge_l("running", "runs") == 0.0
    assert rouge_l("Yes, Sir!", "yes sir") == 1.0


@pytest.mark.parametrize(("true", "answer"), [("", "a"), ("a", ""), ("", ""), ("Москва", "Москва")])
def test_texts_without_words_score_zero(true: str, answer: str) -> None:
    assert rouge_l(true, answer) == 0.0


def test_scores_are_means_in_percent_with_their_rows() -> None:
    """One right, one wrong of two: mean 50; resamples of two items give 0, 50 or 100."""
    score = score_answers([{"answer": "a", "true": "a"}, {"answer": "b", "true": "c", "q": "?"}])
    assert (score.value, score.low, score.high) == (50.0, 0.0, 100.0)
    assert score.per_item == (100.0, 0.0)
    assert score.items[1] == {"answer": "b", "true": "c", "q": "?", "score": 0.0}


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no answers to score"):
        score_answers([])
