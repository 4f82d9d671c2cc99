"""Old names of settings are refused with the new one; the short value is written out."""

import importlib.util
import re

import pytest
from hydra.errors import HydraException
from omegaconf import open_dict

from unlearn_lab.config.build import Refused
from unlearn_lab.config.spelling import (
    _MOVED_MODULES,
    in_one_word,
    moved,
    present_record,
    require_present_command,
)
from unlearn_lab.plan.request import read_values

OVERRIDES = [
    ("trainer.finetune.steps=10", "finetune.steps=10"),
    ("+trainer.finetune.steps=10", "finetune.steps=10"),
    ("++trainer.finetune.steps=1,2", "finetune.steps=1,2"),
    ("trainer.finetune={steps:3}", "finetune={steps:3}"),
    ("~trainer.finetune", "finetune"),
    ("quant.export=true", "export=true"),
    ("+quant.export=gptq,awq", "export=gptq,awq"),
    (
        "method._target_=unlearn_lab.unlearn.npo.NPO",
        "method._target_=unlearn_lab.unlearn.objectives.npo.NPO",
    ),
]


@pytest.mark.parametrize(("override", "present"), OVERRIDES)
def test_an_override_of_an_old_name_is_refused(override, present):
    told = f"{override.lstrip('+~')}: has moved; use {present}"
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        require_present_command(["-m", "method=ga", override])


def test_present_names_pass(composed, tmp_path):
    require_present_command(
        ["-m", "+grid=tiny_lr", "finetune.steps=3", "trainer.epochs=1", "--help"]
    )
    read_values(composed(f"runtime.home={tmp_path}", "finetune.steps=3"))


@pytest.mark.parametrize(
    ("group", "old", "told"),
    [
        ("trainer", {"finetune": {"steps": 3}}, "trainer.finetune.steps=3: has moved; use fine"),
        ("trainer", {"finetune": None}, "trainer.finetune=None: has moved; use finetune=None"),
        ("quant", {"export": True}, "quant.export=True: has moved; use export=True"),
        (
            "optimizer",
            {"_target_": "unlearn_lab.unlearn.sure.SURE"},
            "optimizer._target_=unlearn_lab.unlearn.sure.SURE: has moved; use "
            "optimizer._target_=unlearn_lab.unlearn.optimizers.sure.SURE",
        ),
    ],
)
def test_an_old_name_in_a_file_is_refused(composed, tmp_path, group, old, told):
    config = composed(f"runtime.home={tmp_path}")
    with open_dict(config):
        config[group].update(old)
    with pytest.raises(Refused, match=f"^{re.escape(told)}"):
        read_values(config)


@pytest.mark.parametrize("old", ["trainer.finetune.steps", "quant.export"])
def test_what_hydra_cannot_override_is_told_by_its_new_name(composed, old):
    """So a preset ends that sweeps over an old name."""
    with pytest.raises(HydraException) as refusal:
        composed(f"{old}=3")
    assert moved(str(refusal.value)) == f"{old}: has moved; use {old.split('.', 1)[1]}"
    assert moved("Could not override 'trainer.epoch'") is None
    assert moved("another message") is None


@pytest.mark.parametrize(
    ("word", "weights", "rounding"),
    [("fp32", "fp32", "nearest"), ("bf16", "bf16", "nearest"), ("bf16_sr", "bf16", "stochastic")],
)
def test_one_word_stands_for_weights_and_rounding(composed, tmp_path, word, weights, rounding):
    config = composed(f"runtime.home={tmp_path}", f"trainer.weights={word}")
    trainer = read_values(config).config["trainer"]
    assert (trainer["weights"], trainer["rounding"]) == (weights, rounding)
    assert in_one_word(weights, rounding) == word
    full = (f"trainer.weights={weights}", f"trainer.rounding={rounding}")
    assert read_values(composed(f"runtime.home={tmp_path}", *full)).config["trainer"] == trainer


def test_records_of_old_versions_have_the_present_names():
    old = {
        "run_id": "a",
        "config.trainer.finetune.steps": 3,
        "config.quant.export": False,
        "config.trainer.weights": "bf16_sr",
        "effective.weights": "bf16_sr",
        "export": "cache/export/b",
    }
    present = {
        "run_id": "a",
        "config.finetune.steps": 3,
        "config.export": False,
        "config.trainer.weights": "bf16",
        "config.trainer.rounding": "stochastic",
        "effective.weights": "bf16_sr",
        "export": "cache/export/b",
    }
    assert present_record(old) == present
    assert present_record(present) == present
    found = present_record({"config.trainer.weights": "fp32"})
    assert found == {"config.trainer.weights": "fp32", "config.trainer.rounding": "nearest"}


@pytest.mark.parametrize(
    ("ran", "finetune", "read"),
    [("fp32", "fp32", "fp32"), ("bf16", "fp32", "fp32"), ("bf16", "bf16", "bf16")],
)
def test_records_without_an_arithmetic_setting_say_what_ran(ran, finetune, read):
    """Fine-tuning was in the dtype of its weights on a GPU, in float32 on a CPU."""
    old = {"effective.arithmetic": ran, "config.finetune.weights": finetune}
    found = present_record(old)
    chosen = {name: found[f"config.{name}.arithmetic"] for name in ("trainer", "eval", "finetune")}
    assert chosen == {"trainer": ran, "eval": ran, "finetune": read}
    assert present_record(found) == found


@pytest.mark.parametrize(
    ("old", "present"),
    [
        ("unlearn.released.SUREReleased", "unlearn.optimizers.sure_released.SUREReleased"),
        ("unlearn.objective.Unlearning", "unlearn.objectives.objective.Unlearning"),
        ("quantize.rtn.RTN", "quantize.rtn.RTN"),
    ],
)
def test_classes_in_records_of_old_versions_are_under_their_present_modules(old, present):
    record = present_record({"config.method._target_": f"unlearn_lab.{old}", "method": "ga"})
    assert record == {"config.method._target_": f"unlearn_lab.{present}", "method": "ga"}


def test_every_moved_class_is_where_it_is_said_to_be():
    for old, present in _MOVED_MODULES.items():
        assert importlib.util.find_spec(f"unlearn_lab.{present}") is not None, present
        spec = importlib.util.find_spec(f"unlearn_lab.{old}")
        assert spec is None or spec.submodule_search_locations is not None, old
