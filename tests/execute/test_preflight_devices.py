"""Several devices: what is refused before anything is trained, and what goes through."""

import pytest
import torch

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from unlearn_lab.config.build import Refused
from unlearn_lab.execute.job import request

CHOICES = {"model": "tiny", "dataset": "gazette", "method": "m", "optimizer": "adamw", "quant": "q"}


@pytest.fixture
def ask(composed, tmp_path):
    def make(*overrides):
        fixed = (f"runtime.home={tmp_path / 'lab'}", "method=ga", "runtime.accelerator=cpu")
        return request(composed(*SMALL, *SMALL_MODEL, *fixed, *overrides), CHOICES)

    return make


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("runtime.strategy=deepspeed",), "runtime.strategy=deepspeed: .*one of ddp, fsdp"),
        (("runtime.devices=0",), "runtime.devices=0: must be above 0"),
        (("optimizer=sure",), "optimizer=SURE: needs whole weights .*runtime.strategy=ddp"),
        (("optimizer=sure_released",), "optimizer=SUREReleased: needs whole weights"),
        (("trainer.weights=bf16_sr",), "trainer.rounding=stochastic: needs whole weights"),
        (("trainer/adapter=lora",), "trainer.adapter=LoRA: needs whole weights"),
        (("trainer/stop=utility",), "trainer.stop=UtilityFloor: needs whole weights"),
    ],
)
def test_what_sharded_weights_cannot_do_is_refused(ask, tmp_path, overrides, message):
    with pytest.raises(Refused, match=message) as refusal:
        ask("runtime.devices=2", "runtime.strategy=fsdp", *overrides)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "lab" / "cache" / "target").exists()


def test_more_gpus_than_there_are_are_refused(ask, monkeypatch):
    monkeypatch.setattr(
        "unlearn_lab.execute.preflight_devices.device_of", lambda name: torch.device("cuda")
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(Refused, match=r"^runtime\.devices=4: this process sees 3 GPUs"):
        ask("runtime.devices=4")


def test_other_processors_are_refused(ask, monkeypatch):
    monkeypatch.setattr(
        "unlearn_lab.execute.preflight_devices.device_of", lambda name: torch.device("mps")
    )
    with pytest.raises(Refused, match=r"^runtime\.devices=2: several processes need"):
        ask("runtime.devices=2")


def test_devices_reach_no_key(ask):
    plain = ask().plan.record.key
    assert ask("runtime.devices=2", "runtime.strategy=fsdp").plan.record.key == plain
    sure = ask("runtime.devices=2", "optimizer=sure")
    assert sure.plan.record.key == ask("optimizer=sure").plan.record.key
