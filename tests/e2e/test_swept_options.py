"""Options are swept over together with the settings below them, by every sweeper."""

import json

import pytest

from tests.e2e.artifacts import built, stamps

SETTINGS = [
    ("quant=gptq4,awq4", "quant/calibration=retain"),
    ("quant=gptq4,gptq8", "quant.dampening=0.05"),
    ("quant=gptq4,gptq8", "quant.calibration.num_samples=4"),
    ("quant=fp4,nf4", "quant.block_size=128"),
    ("optimizer=sure,sure_released", "optimizer.percentile=90"),
    ("method=npo,npo_gdr", "method.forget.beta=0.2"),
    ("trainer/stop=forgotten,utility", "trainer.stop.every_epochs=2"),
]
"""Swept options, and a setting that each of them has and the default option lacks."""


@pytest.mark.prepared
@pytest.mark.parametrize(("swept", "setting"), SETTINGS, ids=[one for _, one in SETTINGS])
def test_a_setting_of_all_swept_options_reaches_each_job(lab, swept, setting):
    run = lab("-m", swept, setting, "dry=true")
    assert run.status == 0, run.err
    assert "plan: 2 jobs" in run.out
    assert "choice(" not in run.out
    assert "Traceback" not in run.err


def test_settings_of_swept_models_reach_each_job(lab, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(b"")
    places = ("model.path={0}", "model.retrain={0}", "model.tokenizer={0}")
    given = [place.format(folder) for place in places]
    run = lab("-m", "model=hf,qwen25_05b", "model.finetune=false", *given, "dry=true", small=False)
    assert run.status == 0, run.err
    assert "plan: 2 jobs, 1 equal to another" in run.out
    assert "base" not in run.out


def test_a_setting_that_some_options_lack_is_refused_with_two_commands_that_work(lab):
    run = lab("-m", "trainer/adapter=none,lora", "trainer.adapter.rank=8", "dry=true")
    assert run.status == 2
    (line,) = run.err.splitlines()
    assert line.startswith(
        "trainer.adapter.rank=8: trainer/adapter=lora has this setting, trainer/"
    )
    commands = [one.split(" -m unlearn_lab ")[1] for one in line.split("python")[1:]]
    for command in commands:
        again = lab(*command.removesuffix(", and ").split())
        assert again.status == 0, again.err
        assert "plan: 1 job" in again.out


@pytest.mark.prepared
@pytest.mark.slow
def test_jobs_are_named_and_recorded_by_the_plain_value(lab):
    """Repeated by other means, everything is there: each job is composed as it was here."""
    swept = ("optimizer=sure,sure_released", "optimizer.percentile=80", "quant=none")
    run = lab("-m", *swept)
    assert run.status == 0, run.err
    assert built(run.home)["unlearn"] == 2
    assert [record["config.optimizer.percentile"] for record in run.records] == [80, 80]
    before = stamps(run.home)
    for how in ("+cluster=local", "hydra/sweeper=basic"):
        again = lab("-m", how, *swept)
        assert again.status == 0, again.err
        assert stamps(again.home) == before
        assert "choice(" not in again.out + again.err + run.out + run.err


@pytest.mark.slow
@pytest.mark.prepared
def test_an_optuna_study_searches_options_with_a_fixed_setting_below_them(lab):
    study = ("-m", "hydra/sweeper=optuna", "tune=forget_quality", "hydra.sweeper.n_trials=2")
    swept = ("optimizer=choice(sure,sure_released)", "optimizer.percentile=80")
    run = lab(*study, *swept, "hydra.sweeper.direction=maximize", "quant=rtn4")
    assert run.status == 0, run.err
    assert {record["config.optimizer.percentile"] for record in run.records} == {80}


def test_an_optuna_study_over_options_of_which_one_lacks_a_setting_is_refused(lab):
    study = ("-m", "hydra/sweeper=optuna", "tune=forget_quality")
    run = lab(*study, "optimizer=choice(sure,adamw)", "optimizer.percentile=80", "quant=rtn4")
    assert run.status == 2
    assert "optimizer=sure has this setting, optimizer=adamw does not" in run.err
    assert "Traceback" not in run.err
