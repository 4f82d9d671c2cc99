"""The headline sentences."""

from tests.messages import tells
from unlearn_lab.report.sentences import headlines


def test_a_sweep_is_told_in_full_precision_and_for_each_quantizer(sweep, thresholds):
    full, four, eight = headlines(sweep, thresholds)
    assert tells(
        full,
        *("4 unlearned models", "2 forgot", "npo_gdr + adamw, npo_gdr + sure"),
        *("1 did not forget", "ga_klr + adamw", "1 lost", "destroyed", "ga + adamw."),
    )
    assert tells(
        four,
        *("rtn4", "memory came back", "1 of the 2", "npo_gdr + adamw"),
        *("VerbMem 4.1 → 71.3, retrain 11.9", "KnowMem 6.2 → 55.0, retrain 8.7"),
    )
    assert tells(eight, "rtn8", "nothing came back", "2 of the 2")


def test_one_leaf(make_record, thresholds):
    told = headlines([make_record()], thresholds)
    assert tells(told[1], "rtn4", "memory came back", "one model", "npo_gdr (VerbMem")


def test_seeds_are_counted_and_averaged(make_record, thresholds):
    other = {"full": (6.1, 6.2, 61.0, 41.5), "quantized": (61.3, 8.0, 64.2, -97.3)}
    told = headlines([make_record(seed=0), make_record(seed=1, unlearned=other)], thresholds)
    assert tells(told[0], "2 forgot", "npo_gdr (2 seeds)")
    assert tells(told[1], "2 of the 2", "mean of 2 seeds", "VerbMem 5.1 → 66.3")


def test_without_quantizers_nothing_is_claimed(make_record, thresholds):
    told = headlines([make_record(quant="none")], thresholds)
    assert told[-1].startswith("No quantizer was run")


def test_when_nothing_was_forgotten_nothing_can_come_back(make_record, thresholds):
    destroyed = {"full": (0.0, 0.0, 1.0, 0.0), "quantized": (0.0, 0.0, 1.0, 0.0)}
    told = headlines([make_record(unlearned=destroyed)], thresholds)
    assert tells(told[1], "rtn4", "no model", "forgotten", "nothing")


def test_nothing_is_said_of_what_came_back_to_models_that_cannot_be_judged(make_record, thresholds):
    record = make_record()
    alone = {name: value for name, value in record.items() if "scores.retrain" not in name}
    told = headlines([alone], thresholds)
    assert "1 cannot be judged" in told[0]
    assert tells(told[1], "rtn4", "nothing can be said", "came back")


def test_long_lists_are_shortened(make_record, thresholds):
    told = headlines([make_record(method=f"m{n}") for n in range(7)], thresholds)
    assert "m0, m1, m2, m3 and 3 more." in told[0]


def test_no_records(thresholds):
    assert headlines([], thresholds) == ["No results yet."]


def test_one_model_under_two_grids_counts_once(make_record, thresholds):
    """Settings of a quantizer name the quantizer, not the model."""
    records = [make_record(config__quant__convention=name) for name in ("paper", "absmax")]
    told = headlines(records, thresholds)
    assert told[0].startswith("Of 1 unlearned model, 1 forgot in full precision")
    assert "npo_gdr." in told[0]
    assert [line.split(" the memory")[0] for line in told[1:]] == [
        "Under rtn4 convention=absmax",
        "Under rtn4 convention=paper",
    ]


def test_a_setting_of_one_quantizer_is_not_told_of_others(make_record, thresholds):
    """Records of rtn4 under two conventions, and one of nf4, which has none."""
    records = [make_record(config__quant__convention=name) for name in ("paper", "absmax")]
    told = headlines([*records, make_record(quant="nf4")], thresholds)
    assert told[0].startswith("Of 1 unlearned model,")
    assert not any("convention=-" in line for line in told)


def test_models_that_the_quantizer_destroys_are_no_success(make_record, thresholds):
    full = (4.1, 6.2, 61.0, 41.5)
    records = [
        make_record(method="ga_gdr", unlearned={"full": full, "quantized": (0.0, 0.0, 0.0, 0.0)}),
        make_record(method="npo_gdr", unlearned={"full": full, "quantized": (4.0, 6.0, 60.0, 0.0)}),
    ]
    told = headlines(records, thresholds)
    assert "2 forgot in full precision" in told[0]
    lost = ("quantizer destroyed 1", "ga_gdr.")
    assert tells(told[1], "rtn4", "nothing came back", "1 of the 2", *lost)
    alone = headlines(records[:1], thresholds)
    assert tells(alone[1], "rtn4", "nothing can be said", "one model", *lost)


def test_a_quantizer_that_destroys_the_target_tells_nothing(make_record, thresholds):
    record = make_record(
        unlearned={"full": (4.1, 6.2, 61.0, 41.5), "quantized": (4.0, 6.0, 60.0, 0.0)},
        target={"full": (98.0, 81.5, 79.3, -99.8), "quantized": (3.5, 8.0, 70.0, 0.0)},
    )
    told = headlines([record], thresholds)
    assert tells(
        told[1],
        *("rtn4", "nothing can be said", "one model", "quantizer keeps too little", "1: npo_gdr."),
    )
