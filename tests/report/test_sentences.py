"""The headline sentences."""

from unlearn_lab.report.sentences import headlines


def test_a_sweep_is_told_in_full_precision_and_for_each_quantizer(sweep, thresholds):
    told = headlines(sweep, thresholds)
    assert told == [
        "Of 4 unlearned models, 2 forgot in full precision and stayed useful: npo_gdr + adamw, "
        "npo_gdr + sure; 1 did not forget: ga_klr + adamw; 1 lost the rest of what was known as "
        "well (destroyed, not unlearned): ga + adamw.",
        "Under rtn4 the memory came back in 1 of the 2 models that had forgotten: npo_gdr + adamw "
        "(VerbMem 4.1 → 71.3, retrain 11.9; KnowMem 6.2 → 55.0, retrain 8.7).",
        "Under rtn8 nothing came back in any of the 2 models that had forgotten.",
    ]


def test_one_leaf(make_record, thresholds):
    assert headlines([make_record()], thresholds)[1].startswith(
        "Under rtn4 the memory came back in the one model that had forgotten: npo_gdr (VerbMem"
    )


def test_seeds_are_counted_and_averaged(make_record, thresholds):
    other = {"full": (6.1, 6.2, 61.0, 41.5), "quantized": (61.3, 8.0, 64.2, -97.3)}
    told = headlines([make_record(seed=0), make_record(seed=1, unlearned=other)], thresholds)
    assert "2 forgot in full precision and stayed useful: npo_gdr (2 seeds)" in told[0]
    assert "2 of the 2 models" in told[1]
    assert "mean of 2 seeds; VerbMem 5.1 → 66.3" in told[1]


def test_without_quantizers_nothing_is_claimed(make_record, thresholds):
    told = headlines([make_record(quant="none")], thresholds)
    assert told[-1].startswith("No quantizer was run")


def test_when_nothing_was_forgotten_nothing_can_come_back(make_record, thresholds):
    destroyed = {"full": (0.0, 0.0, 1.0, 0.0), "quantized": (0.0, 0.0, 1.0, 0.0)}
    told = headlines([make_record(unlearned=destroyed)], thresholds)
    assert told[1] == "Under rtn4 no model had forgotten, so there was nothing to come back."


def test_nothing_is_said_of_what_came_back_to_models_that_cannot_be_judged(make_record, thresholds):
    record = make_record()
    alone = {name: value for name, value in record.items() if "scores.retrain" not in name}
    told = headlines([alone], thresholds)
    assert "1 cannot be judged (the line under the table says why)" in told[0]
    assert told[1] == "Under rtn4 nothing can be said about what came back."


def test_long_lists_are_shortened(make_record, thresholds):
    told = headlines([make_record(method=f"m{n}") for n in range(7)], thresholds)
    assert "m0, m1, m2, m3 and 3 more." in told[0]


def test_no_records(thresholds):
    assert headlines([], thresholds) == ["No results yet."]
