"""Sweeps by a sweeper of someone else's: an Optuna study, and Hydra's basic sweeper."""

import re

import pytest
import yaml

from tests.e2e.artifacts import built, stamps

STUDY = (
    "-m",
    "+grid=tune_tiny",
    "hydra.sweeper.n_trials=2",
    "trainer.epochs=1",
    "optimizer.lr=1e-5,1e30",
    "report.sweep=study",
    "report.html=true",
)
"""Two trials; with seed 0 the first takes the learning rate that diverges."""


def found(run):
    """What Optuna itself keeps of the study."""
    return yaml.safe_load((run.home / "hydra/study/optimization_results.yaml").read_text())


@pytest.mark.slow
@pytest.mark.prepared
def test_a_study_ends_like_a_sweep_and_the_same_study_builds_nothing(lab):
    first = lab(*STUDY)
    assert first.status == 1, first.err
    assert "1 done, 1 failed" in first.out
    assert "failed: optimizer.lr=1e+30 method.retain.weight=" in first.out
    assert "quant=rtn4 +grid" not in first.out
    assert "Traceback" not in first.err
    counts = built(first.home)
    assert (counts["target"], counts["retrain"], counts["unlearn"]) == (1, 1, 1)
    assert found(first)["best_params"]["optimizer.lr"] == 1e-5
    assert found(first)["best_value"] == 100  # nobody knows anything
    assert "best:    forget quality 100.0 of 100, with optimizer.lr=1e-05" in first.out
    assert (first.home / "results" / "report.html").exists()
    assert first.records[-1]["config.tune.precision"] == "worse"
    before = stamps(first.home)
    again = lab(*STUDY)
    assert stamps(again.home) == before
    assert found(again) == found(first)
    hopeless = lab(*STUDY, "optimizer.lr=1e30", "hydra.sweeper.n_trials=1")
    assert hopeless.status == 1
    assert "0 done, 1 failed" in hopeless.out
    assert "best:" not in hopeless.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "hydra/sweeper=optuna"), "tune=null: .*objective, .*tune=forget_quality"),
        ((*STUDY, "hydra.sweeper.direction=minimize"), "direction=minimize: must be maximize"),
        ((*STUDY, "tune.utility_share=8"), "tune.utility_share=8.0: .*share from 0 to 1"),
        ((*STUDY, "quant=none"), "quant=none .*full precision"),
    ],
)
def test_a_study_without_anything_to_search_by_is_refused(lab, arguments, message):
    run = lab(*arguments)
    assert run.status == 2
    assert re.search(message, run.err), run.err
    assert "Traceback" not in run.err
    assert not (run.home / "cache" / "target").exists()


@pytest.mark.prepared
def test_hydra_s_own_sweeper_ends_like_the_lab_s_and_tune_is_in_no_key(lab):
    sweep = lab("-m", "hydra/sweeper=basic", "method=ga", "quant=rtn4,rtn8")
    assert sweep.status == 0, sweep.err
    assert "2 done, 0 failed" in sweep.out
    before = stamps(sweep.home)
    single = lab("method=ga", "quant=rtn4", "tune=forget_quality")
    assert single.status == 0
    assert "forget quality 100.0 of 100" in single.err
    assert stamps(single.home) == before
