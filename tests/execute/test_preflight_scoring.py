"""Memory and time of scoring given models are forecast; what does not fit is refused."""

import logging

import pytest
import torch

from tests.e2e.artifacts import SMALL
from tests.messages import tells
from tests.models.families import FAMILIES
from unlearn_lab.config.build import Refused
from unlearn_lab.execute import preflight, preflight_scoring
from unlearn_lab.execute.job import request
from unlearn_lab.execute.preflight_scoring import Work, seconds_of
from unlearn_lab.models.given import Holding

CHOICES = {"model": "hf", "dataset": "gazette", "method": "m", "optimizer": "o", "quant": "q"}
SETTINGS = [one for one in SMALL if not one.startswith(("trainer", "finetune"))]


@pytest.fixture
def ask(composed, checkpoint, tmp_path, monkeypatch):
    """A job of given models on a machine with so many megabytes free."""

    def make(*overrides, megabytes):
        monkeypatch.setattr(
            preflight_scoring, "available_bytes", lambda accelerator: int(megabytes * 1e6)
        )
        given = (
            "model=hf", f"model.path={checkpoint}", f"model.retrain={checkpoint}",
            "model.finetune=false", "method=given", f"method.path={checkpoint}",
            "eval.metrics.min_k.num_tokens=40", "eval.metrics.verbmem.num_tokens=4",
        )  # fmt: skip
        home = f"runtime.home={tmp_path / 'lab'}"
        return request(composed(*SETTINGS, *given, home, *overrides), CHOICES)

    return make


def test_what_does_not_fit_is_refused_with_what_would_help(ask):
    with pytest.raises(Refused) as caught:
        ask(megabytes=0.02)
    message = str(caught.value)
    assert tells(message, "method=given", "needs about", "are free", "trainer.weights=bf16")
    with pytest.raises(Refused) as caught:
        ask("trainer.weights=bf16", "runtime.batch_tokens=16", megabytes=0.005)
    assert "trainer.weights" not in str(caught.value)


def test_what_fits_is_forecast_in_a_line(ask, caplog):
    with caplog.at_level(logging.INFO):
        ask("quant=rtn4", megabytes=100)
    (line,) = [text for text in caplog.messages if text.startswith("scoring:")]
    assert tells(line, "scoring: 6 evaluations of", "billion weights", "GB of memory")


def test_jobs_that_run_elsewhere_are_not_forecast(ask):
    ask("runtime.auto_arithmetic=fp32", megabytes=0.001)


@pytest.mark.parametrize("family", ["llama32", "gemma3"])
def test_time_grows_with_layers_tokens_and_steps(family, monkeypatch):
    """With a clock that a layer moves by a second per token."""
    ticks = []
    monkeypatch.setattr(preflight_scoring, "_time", lambda run, device: ticks.pop(0))
    config = FAMILIES[family]()
    work = Work(parameters=10, weight_bytes=40, batch_bytes=5, read=1024, steps=3, rows=2)
    holding, device = Holding(weights="fp32", arithmetic="fp32"), torch.device("cpu")
    assert work.memory_bytes == 45
    ticks.extend([512.0, 1.0, 612.0, 1.5])  # one layer reads, one steps, two read, two step
    layers = config.get_text_config().num_hidden_layers
    wanted = 2 * (512 + 100 * (layers - 1)) + 3 * (1 + 0.5 * (layers - 1))
    assert seconds_of(work, config, holding, device) == pytest.approx(wanted)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_can_be_timed(family):
    work = Work(parameters=10, weight_bytes=40, batch_bytes=5, read=10, steps=3, rows=2)
    holding = Holding(weights="bf16", arithmetic="fp32")
    assert 0 < seconds_of(work, FAMILIES[family](), holding, torch.device("cpu")) < 60


def test_fewer_bits_than_stored_are_remarked(ask, caplog, monkeypatch):
    monkeypatch.setattr(preflight._log, "filters", [])  # which let each line pass once
    ask("trainer.weights=bf16", megabytes=100)
    assert [text for text in caplog.messages if "stored in fp32 and held in bf16" in text]
    caplog.clear()
    ask(megabytes=100)
    assert not [text for text in caplog.messages if "held in bf16" in text]
