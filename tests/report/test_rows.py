"""Rows: controls first and once, leaves in an order people expect."""

import pytest

from unlearn_lab.report.rows import build_rows, key_headings, natural


def test_controls_come_first_once_for_each_quantizer(sweep, thresholds):
    rows = build_rows(sweep, thresholds)
    controls = [row.labels for row in rows if row.who != "unlearned"]
    assert controls == [
        ("target", "", "rtn4"),
        ("target", "", "rtn8"),
        ("retrain", "", "rtn4"),
        ("retrain", "", "rtn8"),
    ]
    assert [row.who for row in rows[4:]] == ["unlearned"] * 12


def test_controls_of_an_unquantized_sweep_are_shown_in_full_precision(make_record, thresholds):
    rows = build_rows([make_record(quant="none")], thresholds)
    assert [row.labels for row in rows] == [
        ("target", "", "none"), ("retrain", "", "none"), ("npo_gdr", "adamw", "none")
    ]  # fmt: skip
    assert rows[0].scores("verbmem") == (98.0, None)


def test_a_control_is_repeated_for_the_setting_it_depends_on(make_record, thresholds):
    other = {"full": (90.0, 80.0, 79.0, -99.0), "quantized": (80.0, 70.0, 70.0, -99.0)}
    records = [make_record(seed=0), make_record(seed=1, target=other)]
    labels = [row.labels for row in build_rows(records, thresholds) if row.who != "unlearned"]
    assert labels == [
        ("target", "", "rtn4", "0"),
        ("target", "", "rtn4", "1"),
        ("retrain", "", "rtn4", ""),
    ]


def test_a_controls_change_is_computed_and_it_recovers_nothing(make_record, thresholds):
    target, _, leaf = build_rows([make_record()], thresholds)
    assert target.delta("verbmem") == pytest.approx(88.4 - 98.0)
    assert target.share("verbmem") is None
    assert target.verdict is None
    assert leaf.delta("verbmem") == pytest.approx(71.3 - 4.1)
    assert leaf.share("verbmem") == pytest.approx(67.2 / 84.3)


def test_swept_settings_add_headings(make_record):
    records = [make_record(config__optimizer__lr=lr, seed=s) for lr in (1e-5, 1e-4) for s in (0, 1)]
    assert key_headings(records) == ("method", "optimizer", "quant", "seed", "lr")


def test_numbers_sort_as_numbers_and_none_comes_first():
    assert sorted(["rtn16", "rtn4", "none", "gptq4"], key=natural) == [
        "none", "gptq4", "rtn4", "rtn16"
    ]  # fmt: skip
    assert sorted(["0.0001", "1e-05", "10", "9"], key=natural) == ["1e-05", "0.0001", "9", "10"]
