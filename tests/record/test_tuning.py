"""What a search maximises: hand-worked numbers, order of trials, and what is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.config.build import Refused
from unlearn_lab.record.tuning import ForgetQuality, TuneTarget, tune_target

SCORE = st.floats(0, 100)
TARGET, RETRAIN = {"full": (98, 80, 80), "quantized": (88, 70, 70)}, (10, 8, 79)


def scored(full, quantized):
    """A record's scores: VerbMem, KnowMem and utility of each model in each precision."""
    models = {
        "unlearned": {"full": full, "quantized": quantized},
        "target": TARGET,
        "retrain": {"full": RETRAIN, "quantized": RETRAIN},
    }
    return {
        f"scores.{who}.{precision}.{metric}": float(value)
        for who, precisions in models.items()
        for precision, values in precisions.items()
        for metric, value in zip(("verbmem", "knowmem", "utility"), values, strict=True)
    }


def quality(precision="worse", utility_share=0.8):
    return ForgetQuality(precision=precision, utility_share=utility_share)


@pytest.mark.parametrize(
    ("precision", "value"),
    [
        ("full", 100 - ((14 - 10) + 0) / 2),  # 14 and 6 against the control's 10 and 8
        ("quantized", 100 - ((60 - 10) + (28 - 8)) / 2),
        ("worse", 65),
    ],
)
def test_quality_is_what_the_excess_over_the_control_leaves(precision, value):
    record = scored((14, 6, 64), (60, 28, 56))  # utility: exactly 0.8 of 80, and of 70
    assert quality(precision)(record) == pytest.approx(value)


def test_knowing_less_of_one_does_not_make_up_for_the_other():
    full = quality("full")
    assert full(scored((0, 28, 80), (0, 0, 0))) == full(scored((10, 28, 80), (0, 0, 0))) == 90


@pytest.mark.parametrize(("precision", "value"), [("full", -4), ("quantized", -16), ("worse", -16)])
def test_a_trial_that_lost_its_use_is_worth_less_the_more_it_lost(precision, value):
    record = scored((0, 0, 60), (0, 0, 40))  # 64 and 56 would be needed
    assert quality(precision)(record) == pytest.approx(value)


def test_one_precision_without_use_is_enough():
    assert quality()(scored((0, 0, 80), (0, 0, 55))) == pytest.approx(-1)


@given(*[st.tuples(SCORE, SCORE, SCORE)] * 4)
def test_no_trial_without_use_outranks_one_with_it(first, second, third, fourth):
    one, other = scored(first, second), scored(third, fourth)
    judge = quality()
    values = sorted((judge(one), judge(other)))
    assert -100 <= values[0] <= values[1] <= 100
    lost = [record for record in (one, other) if shortfall(record) > 0]
    assert all(judge(record) < 0 for record in lost)
    if len(lost) == 2:
        assert (judge(one) > judge(other)) == (shortfall(one) < shortfall(other))


def shortfall(record):
    return max(
        0.8 * record[f"scores.target.{p}.utility"] - record[f"scores.unlearned.{p}.utility"]
        for p in ("full", "quantized")
    )


def test_a_missing_score_is_told():
    record = scored((0, 0, 80), (0, 0, 80))
    del record["scores.retrain.quantized.knowmem"]
    with pytest.raises(ValueError, match=r"no score retrain\.quantized\.knowmem"):
        quality()(record)
    assert quality("full")(record) == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "both"}, r"tune\.precision=both: .*one of full, quantized, worse"),
        ({"utility_share": 8}, r"tune\.utility_share=8\S*: .*share .*0 .*1"),
        ({"utility": 1}, r"tune\.utility: unknown option"),
    ],
)
def test_impossible_settings_are_refused(plain, settings, message):
    node = plain("tune=forget_quality")["tune"] | settings
    with pytest.raises(Refused, match=message):
        tune_target(node)


def test_what_will_not_be_measured_is_refused_beforehand():
    quality("full").require_measured(control=True, quantized=False)
    quality().require_measured(control=True, quantized=True)
    with pytest.raises(ValueError, match=r"^tune: .*retrain control.* none; .*model\.retrain"):
        quality().require_measured(control=False, quantized=True)
    with pytest.raises(ValueError, match=r"tune\.precision=worse: quant=none .*full precision"):
        quality().require_measured(control=True, quantized=False)


def test_by_default_nothing_is_searched_by(plain):
    assert tune_target(plain()["tune"]) is None


def test_numbers_are_told_in_words():
    assert isinstance(quality(), TuneTarget)
    assert quality().spell(87.25) == "forget quality 87.2 of 100"
    assert re.fullmatch(r"utility .*3\.1 points below 80 % .*target.*", quality().spell(-3.14))
