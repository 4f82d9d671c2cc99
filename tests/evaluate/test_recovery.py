"""Recovery worked out by hand, with its nulls and its paired intervals."""

from dataclasses import replace

import pytest

from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.recovery import Estimate, Precisions, Recovery, recovery


def score(*per_item: float) -> Score:
    return Score(value=-1.0, low=-1.0, high=-1.0, per_item=per_item, items=())


def precisions(full: Score, quantized: Score) -> Precisions:
    return Precisions(full=full, quantized=quantized)


def recovered(
    unlearned: tuple[float, float],
    target: tuple[float, float],
    retrain: tuple[float, float],
    smallest_kept: float = 0.0,
) -> Recovery:
    """Recovery of models whose four items all score alike."""
    ours, best, never = (
        precisions(score(*[full] * 4), score(*[quantized] * 4))
        for full, quantized in (unlearned, target, retrain)
    )
    return recovery(
        unlearned=ours,
        target=best,
        retrain=never,
        smallest_denominator=5.0,
        smallest_kept=smallest_kept,
    )


def test_by_hand() -> None:
    """Unlearned 20 -> 50, target 80 -> 60, retrain 12 -> 10."""
    result = recovered((20.0, 50.0), (80.0, 60.0), (12.0, 10.0))
    assert result.delta.value == 30.0
    assert result.excess.value == 32.0
    assert result.retained_full is not None
    assert result.retained_full.value == 0.25
    assert result.retained_quantized is not None
    assert result.retained_quantized.value == pytest.approx(5 / 6)
    assert result.target_kept is not None
    assert result.target_kept.value == 50 / 68
    assert result.recovered_share is not None
    assert result.recovered_share.value == 0.75


def test_without_a_retrained_model_the_excess_is_null() -> None:
    ours, best = (
        precisions(score(*[full] * 4), score(*[quantized] * 4))
        for full, quantized in ((20.0, 50.0), (80.0, 60.0))
    )
    result = recovery(
        unlearned=ours, target=best, retrain=None, smallest_denominator=5.0, smallest_kept=0.0
    )
    whole = recovered((20.0, 50.0), (80.0, 60.0), (12.0, 10.0))
    kept = Estimate(value=0.75, low=0.75, high=0.75)
    assert result == replace(whole, excess=None, target_kept=kept)


def test_numbers_that_do_not_vary_have_intervals_of_no_width() -> None:
    result = recovered((20.0, 50.0), (80.0, 60.0), (12.0, 10.0))
    for estimate in (result.delta, result.excess, result.retained_full, result.recovered_share):
        assert estimate is not None
        assert estimate.low == estimate.value == estimate.high


@pytest.mark.parametrize(("gap", "defined"), [(4.9, False), (5.0, True), (-10.0, False)])
def test_the_recovered_share_is_null_below_the_smallest_denominator(
    gap: float, defined: bool
) -> None:
    result = recovered((20.0, 50.0), (80.0, 20.0 + gap), (12.0, 10.0))
    assert (result.recovered_share is not None) == defined
    assert result.retained_quantized is not None
    assert result.delta.value == 30.0


def test_retained_shares_are_null_where_the_target_knows_nothing() -> None:
    result = recovered((1.0, 2.0), (4.0, 30.0), (0.0, 0.0))
    assert result.retained_full is None
    assert result.retained_quantized is not None
    assert recovered((1.0, 2.0), (30.0, 4.0), (0.0, 0.0)).retained_quantized is None


def test_items_are_paired_between_models() -> None:
    """Every item gains 10, whatever it scored: the delta is sure although the scores are not."""
    full, quantized = score(0.0, 30.0, 60.0, 90.0), score(10.0, 40.0, 70.0, 100.0)
    pair = precisions(full, quantized)
    result = recovery(
        unlearned=pair, target=pair, retrain=pair, smallest_denominator=5.0, smallest_kept=0.0
    )
    assert result.delta.low == pytest.approx(10.0)
    assert result.delta.high == pytest.approx(10.0)
    assert (result.excess.value, result.excess.low, result.excess.high) == (0.0, 0.0, 0.0)
    assert result.retained_full is not None
    assert (result.retained_full.low, result.retained_full.high) == (1.0, 1.0)


def test_resamples_with_a_small_denominator_leave_no_huge_number() -> None:
    """Target 0 or 100 on two items: a quarter of the resamples has a denominator of 0."""
    ours = precisions(score(0.0, 0.0), score(50.0, 50.0))
    best = precisions(score(0.0, 100.0), score(0.0, 100.0))
    result = recovery(
        unlearned=ours, target=best, retrain=ours, smallest_denominator=5.0, smallest_kept=0.0
    )
    assert result.recovered_share is not None
    assert (result.recovered_share.low, result.recovered_share.high) == (0.5, 1.0)
    assert result.retained_quantized is not None
    assert result.retained_quantized.value == 1.0


def test_intervals_contain_their_values() -> None:
    ours = precisions(score(0.0, 10.0, 30.0, 5.0), score(40.0, 80.0, 20.0, 55.0))
    best = precisions(score(90.0, 100.0, 70.0, 95.0), score(80.0, 90.0, 75.0, 60.0))
    result = recovery(
        unlearned=ours, target=best, retrain=ours, smallest_denominator=5.0, smallest_kept=0.0
    )
    for estimate in (result.delta, result.retained_quantized, result.recovered_share):
        assert estimate is not None
        assert estimate.low < estimate.value < estimate.high


def test_refuses_scores_over_other_items() -> None:
    pair = precisions(score(1.0, 2.0), score(1.0, 2.0))
    odd = precisions(score(1.0, 2.0), score(1.0))
    with pytest.raises(ValueError, match=r"\[2, 2, 2, 1, 2, 2\] items: .*the same"):
        recovery(
            unlearned=pair, target=odd, retrain=pair, smallest_denominator=5.0, smallest_kept=0.0
        )
    empty = precisions(score(), score())
    with pytest.raises(ValueError, match="at least one"):
        recovery(
            unlearned=empty,
            target=empty,
            retrain=empty,
            smallest_denominator=5.0,
            smallest_kept=0.0,
        )


@pytest.mark.parametrize("smallest", [0.0, -1.0, float("nan")])
def test_refuses_a_threshold_that_is_none(smallest: float) -> None:
    pair = precisions(score(1.0), score(1.0))
    with pytest.raises(ValueError, match="must be above 0 points"):
        recovery(
            unlearned=pair,
            target=pair,
            retrain=pair,
            smallest_denominator=smallest,
            smallest_kept=0.0,
        )


@pytest.mark.parametrize(("kept", "defined"), [(29.0, False), (30.0, True)])
def test_shares_need_a_quantized_target_that_still_knows(kept: float, defined: bool) -> None:
    """Target 100, retrain 10 and 7.5 quantized: a quarter of 90 above 7.5 is 30."""
    result = recovered((0.0, 20.0), (100.0, kept), (10.0, 7.5), smallest_kept=0.25)
    assert (result.recovered_share is not None) == defined
    assert (result.retained_quantized is not None) == defined
    assert result.retained_full is not None
    assert result.delta.value == 20.0


def test_a_target_that_never_knew_keeps_an_undefined_share() -> None:
    result = recovered((10.0, 20.0), (14.0, 30.0), (10.0, 10.0), smallest_kept=0.25)
    assert result.target_kept is None
    assert result.recovered_share is not None


def test_a_negative_share_to_be_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="smallest_kept=-1"):
        recovered((10.0, 20.0), (14.0, 30.0), (10.0, 10.0), smallest_kept=-1.0)
