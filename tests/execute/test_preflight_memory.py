"""A training that does not fit into memory is refused before anything is trained."""

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.messages import tells
from unlearn_lab.config.build import Refused
from unlearn_lab.execute import preflight_memory
from unlearn_lab.execute.job import request, run
from unlearn_lab.unlearn.training import forecast

CHOICES = {"model": "tiny", "dataset": "gazette", "method": "m", "optimizer": "adamw", "quant": "q"}


@pytest.fixture
def ask(composed, tmp_path, monkeypatch):
    """A job on a machine with so many megabytes free, and none for kernels."""
    monkeypatch.setattr(forecast, "_SCRATCH", 0)

    def make(*overrides, megabytes):
        monkeypatch.setattr(
            preflight_memory, "available_bytes", lambda accelerator: megabytes * 1e6
        )
        home = f"runtime.home={tmp_path / 'lab'}"
        return request(composed(*SMALL, *SMALL_MODEL, home, "method=npo_klr", *overrides), CHOICES)

    return make


@pytest.fixture
def forecasts(monkeypatch):
    """The forecasts that were made, by the weights' dtype and the size of a part."""
    made = []
    real = preflight_memory.peak_bytes

    def counted(config, shape, runtime):
        made.append((shape.weights, runtime.micro_batch))
        return real(config, shape, runtime)

    monkeypatch.setattr(preflight_memory, "peak_bytes", counted)
    return made


def test_the_refusal_says_what_would_fit(ask):
    with pytest.raises(Refused) as caught:
        ask("finetune.batch_size=5", megabytes=4.2)
    message = str(caught.value)
    assert tells(message, "finetune", "needs about", "free", "runtime.micro_batch=1 it needs")


def test_the_refusal_without_a_way_out_says_what_was_tried(ask):
    with pytest.raises(Refused) as caught:
        ask(megabytes=0.01)
    assert tells(str(caught.value), "finetune", "a smaller model", "runtime.micro_batch=1", "still")


def test_a_part_of_the_batch_fits_where_the_whole_does_not(ask, forecasts):
    ask("finetune.batch_size=5", "runtime.micro_batch=1", megabytes=4.2)
    assert len(forecasts) == 2


def test_nothing_is_forecast_where_it_certainly_fits(ask, forecasts):
    ask(megabytes=1000)
    assert forecasts == []


def test_what_is_cached_needs_no_memory(ask, forecasts):
    run(ask(megabytes=1000))
    preflight_memory._measured.clear()
    ask("eval.metrics.knowmem.num_tokens=3", megabytes=0.01)
    assert forecasts == []


def test_adapters_are_not_forecast(ask, forecasts):
    run(ask(megabytes=1000))
    forecasts.clear()
    ask("trainer/adapter=lora", megabytes=0.01)
    assert forecasts == []


@pytest.mark.parametrize("setting", ["runtime.auto_arithmetic=fp32", "runtime.devices=2"])
def test_other_machines_and_several_processes_are_not_forecast(ask, forecasts, setting):
    ask(setting, megabytes=0.01)
    assert forecasts == []


def test_an_architecture_that_cannot_run_without_data_is_not_refused(ask, monkeypatch, caplog):
    def fails(*given):
        raise RuntimeError("a data-dependent operation")

    monkeypatch.setattr(preflight_memory, "peak_bytes", fails)
    with caplog.at_level("WARNING"):
        ask("eval.metrics.knowmem.num_tokens=2", megabytes=0.01)
    assert "a data-dependent operation" in caplog.text
