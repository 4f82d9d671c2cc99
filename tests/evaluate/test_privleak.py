"""PrivLeak by hand, paired, and null where the retrained model's AUC is 0."""

from dataclasses import dataclass

import pytest

from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.min_k import MinK
from unlearn_lab.evaluate.privleak import check_auc_retrain, privleak


def score(forget: list[float], holdout: list[float]) -> Score:
    rows = [("forget", value) for value in forget] + [("holdout", value) for value in holdout]
    return Score(
        value=-1.0,
        low=-1.0,
        high=-1.0,
        per_item=tuple(value for _, value in rows),
        items=tuple({"text": "t", "split": split, "score": value} for split, value in rows),
    )


EVEN = score([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])


def test_by_hand() -> None:
    """AUC 3/4 against 1/2: (0.75 - 0.5) / 0.5 = 50 %."""
    result = privleak(score([2.0, 4.0], [1.0, 3.0]), score([1.0, 1.0], [1.0, 1.0]))
    assert result is not None
    assert result.value == pytest.approx(50.0)
    assert result.low <= 50.0 <= result.high
    assert result.per_item == (2.0, 4.0, 1.0, 3.0)
    assert result.items[1] == {"text": "t", "split": "forget", "score": 4.0, "retrain_score": 1.0}


def test_a_memorising_model_leaks_minus_one_hundred_for_sure() -> None:
    result = privleak(score([0.1, 0.2, 0.1, 0.2], [1.0, 2.0, 3.0, 4.0]), EVEN)
    assert result is not None
    assert (result.value, result.low, result.high) == (-100.0, -100.0, -100.0)


def test_the_retrained_model_against_itself_leaks_nothing_in_any_resample() -> None:
    """So the draws are paired: with draws of their own the interval would have a width."""
    result = privleak(EVEN, EVEN)
    assert result is not None
    assert (result.value, result.low, result.high) == (0.0, 0.0, 0.0)


def test_resamples_in_which_the_retrained_area_is_zero_are_left_out() -> None:
    """AUC_retrain is 1/4: one pair in four is won, and many resamples miss it."""
    result = privleak(score([1.0, 2.0], [1.0, 2.0]), score([1.0, 3.0], [2.0, 4.0]))
    assert result is not None
    assert result.value == pytest.approx(100.0)
    assert -100.0 <= result.low <= result.high < float("inf")


def test_is_undefined_where_the_retrained_area_is_zero() -> None:
    assert privleak(EVEN, score([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])) is None


def test_refuses_scores_over_other_documents() -> None:
    with pytest.raises(ValueError, match=r"4 forget and 4 holdout .* retrain on 2 forget and 1"):
        privleak(EVEN, score([1.0, 2.0], [3.0]))


def test_against_a_published_area_by_hand() -> None:
    """AUC 3/4 against 0.6: 25 %; the constant does not vary, so a sure AUC has a sure leak."""
    result = privleak(score([2.0, 4.0], [1.0, 3.0]), 0.6)
    assert result is not None
    assert result.value == pytest.approx(25.0)
    assert result.low < 25.0 < result.high
    assert "retrain_score" not in result.items[0]
    sure = privleak(score([0.1, 0.2], [1.0, 2.0]), 0.4772)
    assert sure is not None
    assert (sure.value, sure.low, sure.high) == (-100.0, -100.0, -100.0)


@dataclass(frozen=True)
class MuseCorpus:
    """A data set of the benchmark's, by its name on the hub; None for a folder."""

    published_as: str | None


class Gazette:
    """One that is not."""


NEWS, BOOKS = MuseCorpus("muse-bench/MUSE-News"), MuseCorpus("muse-bench/MUSE-Books")


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("scored", Gazette()),
        ("muse_news", NEWS),
        ("muse_books", BOOKS),
        ("muse_books", MuseCorpus(None)),
    ],
)
def test_a_published_area_goes_with_its_data_set(name: str, dataset: object) -> None:
    check_auc_retrain(name, dataset, {"min_k": MinK(fraction=0.4, num_tokens=None)})


@pytest.mark.parametrize(
    ("name", "dataset", "fraction", "message"),
    [
        ("news", NEWS, 0.4, "one of scored, muse_news, muse_books"),
        ("muse_news", Gazette(), 0.4, "muse-bench/MUSE-News, .*dataset is Gazette"),
        ("muse_news", BOOKS, 0.4, "dataset is muse-bench/MUSE-Books; .*eval.auc_retrain=scored"),
        ("muse_news", NEWS, 0.2, "fraction 0.4, .*eval.metrics.min_k.fraction is 0.2"),
    ],
)
def test_and_is_refused_elsewhere(
    name: str, dataset: object, fraction: float, message: str
) -> None:
    metrics = {"min_k": MinK(fraction=fraction, num_tokens=None)}
    with pytest.raises(ValueError, match=f"^eval.auc_retrain={name}: .*{message}"):
        check_auc_retrain(name, dataset, metrics)


def test_a_published_area_needs_min_k() -> None:
    dataset = NEWS
    with pytest.raises(ValueError, match=r"eval\.metrics\.min_k\.fraction is not there"):
        check_auc_retrain("muse_news", dataset, {})


def test_a_published_area_is_of_whole_texts() -> None:
    dataset = NEWS
    metrics = {"min_k": MinK(fraction=0.4, num_tokens=2048)}
    with pytest.raises(ValueError, match=r"num_tokens=2048 cuts them; use eval=muse_published"):
        check_auc_retrain("muse_news", dataset, metrics)
