"""Verdicts at and beside their thresholds."""

import pytest

from tests.messages import tells
from tests.records import by_other_metrics
from unlearn_lab.record.verdict import (
    VerdictThresholds,
    judge_full,
    judged,
    returned_metrics,
    verdict,
)
from unlearn_lab.record.verdict import judge as judge_record

TARGET = {"full": (98.0, 80.0, 80.0, 0.0), "quantized": (90.0, 70.0, 70.0, 0.0)}
RETRAIN = {"full": (12.0, 10.0, 78.0, 0.0), "quantized": (15.0, 11.0, 70.0, 0.0)}


@pytest.fixture
def judge(make_record, thresholds):
    def judged(full, quantized=(0.0, 0.0, 70.0, 0.0), quant="rtn4", **further):
        scores = {"full": full, "quantized": quantized}
        row = make_record(unlearned=scores, target=TARGET, retrain=RETRAIN, quant=quant, **further)
        return verdict(row, thresholds)

    return judged


def test_utility_below_sixty_per_cent_of_the_targets_is_destroyed(judge):
    assert judge((0.0, 0.0, 47.9, 0.0), quant="none") == "destroyed"
    assert judge((0.0, 0.0, 48.0, 0.0), quant="none") == "forgotten"


def test_a_destroyed_model_is_destroyed_even_when_its_memory_comes_back(judge):
    assert judge((0.0, 0.0, 3.0, 0.0), quantized=(90.0, 70.0, 70.0, 0.0)) == "destroyed"


def test_a_destroyed_model_that_still_remembers_is_destroyed_first(judge):
    assert judge((90.0, 70.0, 3.0, 0.0), quant="none") == "destroyed"


@pytest.mark.parametrize(
    ("memory", "word"),
    [
        ((17.0, 15.0), "forgotten"),
        ((17.1, 10.0), "not forgotten"),
        ((12.0, 15.1), "not forgotten"),
    ],
)
def test_more_than_five_points_above_retrain_is_not_forgotten(judge, memory, word):
    assert judge((*memory, 70.0, 0.0), quant="none") == word


@pytest.mark.parametrize(
    ("quantized", "word"),
    [
        ((35.0, 11.0), "comes back"),  # 20 above retrain's 15, 31 above its own 4
        ((34.9, 11.0), "stays forgotten"),
        ((15.0, 31.0), "comes back"),  # KnowMem alone: 20 above retrain's 11
        ((15.0, 30.9), "stays forgotten"),
    ],
)
def test_a_return_is_twenty_points_above_the_quantized_retrain(judge, quantized, word):
    assert judge((4.0, 6.0, 70.0, 0.0), quantized=(*quantized, 70.0, 0.0)) == word


def test_a_return_is_twenty_points_above_its_own_full_precision_too(judge):
    assert judge((17.0, 10.0, 70.0, 0.0), quantized=(36.9, 10.0, 70.0, 0.0)) == "stays forgotten"
    assert judge((17.0, 10.0, 70.0, 0.0), quantized=(37.0, 10.0, 70.0, 0.0)) == "comes back"


def test_a_model_that_did_not_forget_gets_no_word_about_returning(judge):
    assert judge((60.0, 10.0, 70.0, 0.0), quantized=(90.0, 70.0, 70.0, 0.0)) == "not forgotten"


def test_missing_scores_are_not_judged(judge):
    full = (4.0, 6.0, 70.0, 0.0)
    assert judge(full, scores__target__full__utility=None) == "not judged"
    nothing = {f"scores__retrain__full__{metric}": None for metric in ("verbmem", "knowmem")}
    assert judge(full, **nothing) == "not judged"
    nothing = {f"scores__retrain__quantized__{metric}": None for metric in ("verbmem", "knowmem")}
    assert judge(full, **nothing) == "not judged"
    assert judge(full, scores__retrain__full__verbmem=None, quant="none") == "forgotten"


def test_returned_metrics_are_named(make_record, thresholds):
    row = make_record(
        unlearned={"full": (4.0, 6.0, 70.0, 0.0), "quantized": (80.0, 7.0, 70.0, 0.0)},
        retrain=RETRAIN,
    )
    assert returned_metrics(row, thresholds) == ("verbmem",)


@pytest.mark.parametrize(
    "wrong", [{"destroyed_share": 1.2}, {"forgotten_margin": -1.0}, {"return_margin": -0.1}]
)
def test_impossible_thresholds_are_refused(wrong):
    right = {"destroyed_share": 0.6, "forgotten_margin": 5.0, "return_margin": 20.0}
    with pytest.raises(ValueError, match=f"report.thresholds.{next(iter(wrong))}"):
        VerdictThresholds(**(right | wrong))


@pytest.mark.parametrize(
    ("absent", "parts"),
    [
        ("scores.unlearned.full.", ("neither VerbMem nor KnowMem",)),
        ("scores.retrain.", ("no retrain control",)),
        ("scores.target.full.utility", ("without Utility", "destroyed")),
        ("scores.retrain.quantized.", ("retrain control", "no quantized scores")),
        ("scores.target.quantized.", ("target", "retrain control", "no quantized scores")),
        ("scores.unlearned.quantized.utility", ("model", "no quantized Utility")),
    ],
)
def test_what_a_verdict_lacks_is_told(make_record, thresholds, absent, parts):
    scores = {"full": (4.0, 6.0, 70.0, 0.0), "quantized": (4.0, 7.0, 70.0, 0.0)}
    row = make_record(unlearned=scores, target=TARGET, retrain=RETRAIN)
    assert verdict(row, thresholds) == "stays forgotten"
    bare = {key: value for key, value in row.items() if not key.startswith(absent)}
    assert verdict(bare, thresholds) == "not judged"
    assert tells(judge_record(bare, thresholds).reason, *parts)


@pytest.mark.parametrize(("verbmem", "judged"), [(17.0, False), (17.1, True)])
def test_where_the_target_never_knew_there_is_nothing_to_forget(
    make_record, thresholds, verbmem, judged
):
    """Retrain has VerbMem 12 and KnowMem 10; five points above is where remembering begins."""
    scores = {"full": (4.0, 6.0, 70.0, 0.0), "quantized": (4.0, 7.0, 70.0, 0.0)}
    target = {"full": (verbmem, 15.0, 80.0, 0.0), "quantized": TARGET["quantized"]}
    row = make_record(unlearned=scores, target=target, retrain=RETRAIN)
    assert (verdict(row, thresholds) == "stays forgotten") == judged
    if not judged:
        assert verdict(row, thresholds) == "not judged"
        assert tells(judge_record(row, thresholds).reason, "target", "no more", "retrain control")


FULL = (4.0, 6.0, 70.0, 0.0)


def test_a_model_that_the_quantizer_destroys_does_not_stay_forgotten(judge):
    """Sixty per cent of the target's utility of 80, in full precision, are 48."""
    assert judge(FULL, quantized=(0.0, 0.0, 47.9, 0.0)) == "destroyed by the quantizer"
    assert judge(FULL, quantized=(0.0, 0.0, 48.0, 0.0)) == "stays forgotten"


def test_memory_that_comes_back_does_so_in_a_destroyed_model_too(judge):
    assert judge(FULL, quantized=(40.0, 0.0, 3.0, 0.0)) == "comes back"


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ((34.9, 30.9), "quantizer keeps too little to tell"),
        ((35.0, 30.9), "stays forgotten"),  # a return to 35 would be 20 above retrain's 15
        ((34.9, 31.0), "stays forgotten"),
    ],
)
def test_a_quantized_target_that_has_lost_its_memory_tells_nothing(
    make_record, thresholds, target, word
):
    row = make_record(
        unlearned={"full": FULL, "quantized": (4.0, 7.0, 70.0, 0.0)},
        target={"full": TARGET["full"], "quantized": (*target, 70.0, 0.0)},
        retrain=RETRAIN,
    )
    assert verdict(row, thresholds) == word
    assert judge_full(row, thresholds).verdict == "forgotten"


def test_the_metric_that_cannot_tell_is_named(make_record, thresholds):
    row = make_record(
        unlearned={"full": FULL, "quantized": (4.0, 7.0, 70.0, 0.0)},
        target={"full": TARGET["full"], "quantized": (3.5, 70.0, 70.0, 0.0)},
        retrain=RETRAIN,
    )
    assert tells(
        judge_record(row, thresholds).reason,
        *("no score rises", "20 points", "quantized target", "KnowMem 70.0"),
        *("VerbMem cannot tell", "quantized target", "VerbMem 3.5"),
    )


@pytest.mark.parametrize(
    ("full", "quantized", "parts"),
    [
        (
            (0.0, 0.0, 3.0),
            (0.0, 0.0, 3.0),
            ("Utility is 3.0", "below 60 %", "target", "80.0"),
        ),
        (
            (60.0, 6.0, 70.0),
            (0.0, 0.0, 70.0),
            ("more than 5 points", "retrain control", "VerbMem 60.0 (retrain 12.0)"),
        ),
        (
            (4.0, 6.0, 70.0),
            (40.0, 6.0, 70.0),
            ("VerbMem rises from 4.0 to 40.0", "quantized retrain", "15.0"),
        ),
        (
            (4.0, 6.0, 70.0),
            (0.0, 0.0, 3.0),
            ("Utility falls from 70.0 to 3.0", "below 60 %", "target", "80.0"),
        ),
    ],
)
def test_a_record_tells_its_verdict_with_the_figures(
    make_record, thresholds, full, quantized, parts
):
    scores = {"full": (*full, 0.0), "quantized": (*quantized, 0.0)}
    row = judged(make_record(unlearned=scores, target=TARGET, retrain=RETRAIN), thresholds)
    assert row["verdict"] == verdict(row, thresholds)
    assert tells(row["verdict_reason"], *parts)
    assert "KnowMem" not in row["verdict_reason"]


def test_in_full_precision_both_memories_are_named(make_record, thresholds):
    scores = {"full": FULL, "quantized": FULL}
    row = make_record(unlearned=scores, target=TARGET, retrain=RETRAIN, quant="none")
    assert tells(
        judge_record(row, thresholds).reason,
        *("at most 5 points", "retrain control"),
        *("VerbMem 4.0 (retrain 12.0)", "KnowMem 6.0 (retrain 10.0)"),
    )


def test_a_corpus_at_fault_is_named_where_the_target_never_knew(make_record, thresholds):
    scores = {"full": (1.0, 1.0, 70.0, 0.0), "quantized": (1.0, 1.0, 70.0, 0.0)}
    row = make_record(unlearned=scores, target=scores, retrain=scores, quant="none")
    script = "forget.jsonl: 8 of 8 texts have hardly a letter a-z"
    row |= {"corpus.script": script, "corpus.repeats": "one text is there twice"}
    reason = judge_record(row, thresholds).reason
    assert tells(reason, "target", "no more", "retrain control", "perhaps", script)
    assert "twice" not in reason


def test_other_metrics_are_judged_as_those_of_muse_are(make_record, thresholds):
    record = make_record()
    other = by_other_metrics(record)
    found, expected = judge_record(other, thresholds), judge_record(record, thresholds)
    assert found.verdict == expected.verdict == "comes back"
    assert tells(found.reason, "recall", "rises")
    useless = {**other, "scores.unlearned.full.skills": 10.0}
    assert tells(judge_record(useless, thresholds).reason, "skills is 10.0")
    nobody = {**other, "config.eval.utility": None}
    assert judge_record(nobody, thresholds).verdict == "not judged"
    nothing = {**other, "config.eval.memories": []}
    assert tells(judge_record(nothing, thresholds).reason, "eval.memories")
