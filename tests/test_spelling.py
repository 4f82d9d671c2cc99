"""Old names of settings are refused with the new one, whichever way they are given."""

import re

import pytest
from hydra.errors import HydraException
from omegaconf import open_dict

from unlearn_lab.build import Refused
from unlearn_lab.request import read_values
from unlearn_lab.spelling import moved, require_present_command

OVERRIDES = [
    ("trainer.finetune.steps=10", "finetune.steps=10"),
    ("+trainer.finetune.steps=10", "finetune.steps=10"),
    ("++trainer.finetune.steps=1,2", "finetune.steps=1,2"),
    ("trainer.finetune={steps:3}", "finetune={steps:3}"),
    ("~trainer.finetune", "finetune"),
    ("quant.export=true", "export=true"),
    ("+quant.export=gptq,awq", "export=gptq,awq"),
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
