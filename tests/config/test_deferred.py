"""Overrides below a swept option are left to the jobs that compose that option."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from unlearn_lab.config.deferred import NULL, deferred, require_shared, without_null_options


def rewritten(command):
    """What becomes of each argument that changes."""
    arguments = shlex.split(command)
    return {
        before: after
        for before, after in zip(arguments, deferred(arguments), strict=True)
        if before != after
    }


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        ("-m quant=gptq4,awq4 quant/calibration=retain", "quant/calibration=retain"),
        ("-m quant=gptq4,gptq8 quant.dampening=0.05", "quant.dampening=0.05"),
        ("--multirun quant=gptq4,gptq8 quant.dampening=0.05 dry=true", "quant.dampening=0.05"),
        ("hydra.mode=MULTIRUN quant=gptq4,gptq8 quant.dampening=0.05", "quant.dampening=0.05"),
        ("-m optimizer=sure,sure_released optimizer.percentile=90", "optimizer.percentile=90"),
        ("-m trainer/adapter=none,lora trainer.adapter.rank=8 seed=1", "trainer.adapter.rank=8"),
        ("-m quant=fp4,nf4 quant.block_size=128", "quant.block_size=128"),
        ("-m model=qwen25_05b,gemma3_1b model.finetune=false", "model.finetune=false"),
        ("-m model=qwen25_05b,gemma3_1b trainer.epochs=2", "trainer.epochs=2"),
        ("-m model=tiny,hf trainer=tiny finetune.steps=2 trainer.epochs=1", "finetune.steps=2"),
        ("+grid=tiny_sure optimizer.percentile=90 seed=3", "optimizer.percentile=90"),
        ("+grid=paper_news_corrected method.beta=0.2", "method.beta=0.2"),
    ],
)
def test_an_override_below_a_swept_option_is_a_sweep_over_one_value(command, setting):
    name, _, value = setting.partition("=")
    assert rewritten(command) == {setting: f"{name}=choice({value})"}


@pytest.mark.parametrize(
    "command",
    [
        "quant=gptq4 quant.dampening=0.05",
        "quant=gptq4,gptq8 quant.dampening=0.05",  # no sweep: Hydra says so
        "-m method=ga,npo quant=gptq4 quant.dampening=0.05",
        "-m quant=gptq4,gptq8 quant.dampening=0.05,0.1",
        "-m quant=gptq4,gptq8 +quant.new=1 ++quant.other=2 ~quant.dampening",
        "-m runtime=default,other runtime.home=x",
        "-m trainer/adapter=none,lora trainer.epochs=3",
        "-m seed=1,2 quant.bits=4",
        "-m quant=gptq4,awq4 quant.dampening=[",
        "--cfg job",
    ],
)
def test_all_else_stays_as_it_is(command):
    assert rewritten(command) == {}


@pytest.mark.parametrize(
    ("value", "given"),
    [
        ("8", 8),
        ("1e-5", 1e-5),
        ("true", True),
        ("[1,2]", [1, 2]),
        ("{a:1}", {"a": 1}),
        ("'a, b'", "a, b"),
        ("a b", "a b"),
        ("", ""),
        ("${seed}", "${seed}"),
        ("float(1)", 1.0),
        ("null", NULL),
    ],
)
def test_jobs_have_the_value_that_was_given(value, given):
    (_, _, argument) = deferred(["-m", "quant=a,b", f"quant.x={value}"])
    parser = OverridesParser.create()
    (override,) = parser.parse_overrides([argument])
    (printed,) = override.sweep_string_iterator()
    (job,) = parser.parse_overrides([f"quant.x={printed}"])
    assert job.value() == given


def compose(job):
    """Hydra's answer where only gptq4 and gptq8 have `dampening`, and nothing has `nonsense`."""
    settings = dict(one.split("=") for one in job)
    for name in ("quant.dampening", "quant.nonsense"):
        known = name == "quant.dampening" and settings["quant"].startswith("gptq")
        if name in settings and not known:
            raise HydraException(f"Could not override '{name}'.\nKey is not in struct")


def test_a_setting_that_some_options_lack_is_refused_with_two_commands():
    given = deferred(["-m", "quant=gptq4,rtn4,gptq8", "quant.dampening=0.05", "method=ga,npo"])
    with pytest.raises(ValueError, match="quant") as refusal:
        require_shared(given, {}, compose)
    message, command = str(refusal.value), "python -m unlearn_lab -m "
    assert re.match(
        r"quant\.dampening=0\.05: quant=gptq4,gptq8 has .*quant=rtn4 does not\b", message
    )
    assert f"{command}quant=gptq4,gptq8 quant.dampening=0.05 method=ga,npo, " in message
    assert message.endswith(f" {command}quant=rtn4 method=ga,npo")


def test_options_of_a_preset_count():
    given = deferred(["+grid=tiny_sure", "quant.dampening=0.05"])
    with pytest.raises(ValueError, match=r"-m quant=rtn4 \+grid=tiny_sure$"):
        require_shared(given, {"quant": "rtn4,gptq4"}, compose)


@pytest.mark.parametrize(
    "command", ["-m quant=gptq4,gptq8 quant.dampening=1", "-m quant=gptq4,rtn4 quant.nonsense=1"]
)
def test_what_all_options_have_and_what_none_has_is_left_to_the_jobs(command):
    require_shared(deferred(shlex.split(command)), {}, compose)


def test_a_setting_that_a_preset_sweeps_is_left_to_hydra():
    require_shared(["+grid=x"], {"quant": "gptq4,rtn4", "quant.dampening": "0.05,0.1"}, compose)


def test_an_interval_is_sampled_at_its_start():
    seen = []
    params = {"optimizer.lr": "interval(1e-5,1e-3)", "seed": "range(1,3)"}
    require_shared(
        deferred(["quant=gptq4,gptq8", "quant.dampening=tag(log, interval(0,1))"]),
        params,
        seen.append,
    )
    assert seen == [
        ["optimizer.lr=1e-05", "seed=1", f"quant={option}", "quant.dampening=0.0"]
        for option in ("gptq4", "gptq8")
    ]


def test_an_option_that_is_not_there_is_left_to_hydra():
    def unknown(job):
        raise HydraException("Could not find 'quant/gptq5'")

    require_shared(deferred(["-m", "quant=gptq4,gptq5", "quant.dampening=1"]), {}, unknown)


def test_no_option_of_a_group_is_spelt_as_hydra_wants_it():
    rest = ["quant=null,rtn4", "model.path=null", "seed=null", "--cfg", "job"]
    given = ["-m", "tune=null", "trainer/stop=null", *rest]
    assert without_null_options(given) == ["-m", "~tune", "~trainer/stop", *rest]
