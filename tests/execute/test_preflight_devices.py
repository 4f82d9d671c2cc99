"""Several devices: what is refused before anything is trained, and what goes through."""

import pytest
import torch

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.messages import tells
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("runtime.micro_batch=0",), "runtime.micro_batch=0: must be at least 1, or null"),
        (
            ("runtime.micro_batch=1", "runtime.devices=2", "runtime.strategy=fsdp"),
            "runtime.micro_batch=1: needs whole weights .*runtime.strategy=ddp",
        ),
        (
            ("runtime.micro_batch=1", "optimizer=sure_released"),
            "runtime.micro_batch=1: optimizer=sure_released .*whole batches",
        ),
        (("optimizer=adamw_8bit",), "optimizer=adamw_8bit: .*need a GPU.*is cpu; use .*adamw"),
    ],
)
def test_batches_in_parts_and_8_bit_moments_that_cannot_be(ask, tmp_path, overrides, message):
    with pytest.raises(Refused, match=message) as refusal:
        ask(*overrides)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "lab" / "cache" / "target").exists()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("lr=0", "must be above 0"),
        ("betas=[0.9,1.0]", "below 1"),
        ("eps=-1", "0 or more"),
        ("weight_decay=-1", "0 or more"),
    ],
)
def test_settings_of_8_bit_moments(ask, setting, reason):
    with pytest.raises(Refused) as refusal:
        ask("optimizer=adamw_8bit", f"optimizer.{setting}")
    assert tells(str(refusal.value), "optimizer", setting.partition("=")[0], reason)


def test_jobs_on_other_machines_may_have_8_bit_moments(ask):
    asked = ask("optimizer=adamw_8bit", "runtime.auto_arithmetic=fp32")
    assert asked.plan.unlearn.params["optimizer"]["paged"] is False


def test_devices_and_parts_reach_no_key(ask):
    plain = ask().plan.record.key
    for settings in (
        ("runtime.devices=2", "runtime.strategy=fsdp"),
        ("runtime.micro_batch=1", "runtime.gradient_checkpointing=true"),
    ):
        assert ask(*settings).plan.record.key == plain
    sure = ask("runtime.devices=2", "optimizer=sure")
    assert sure.plan.record.key == ask("optimizer=sure").plan.record.key
