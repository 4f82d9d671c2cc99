"""Costs worked out by hand for a machine and a model of round numbers."""

import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.gpu_hours import (
    A100,
    LLAMA_7B,
    PRESETS,
    Machine,
    Model,
    Preset,
    cost,
    decoding_seconds,
    evaluation_seconds,
    forward_seconds,
    trained_seconds,
    training_bytes,
    unlearning_seconds,
)

MODEL = Model(num_parameters=1e9, num_layers=10, hidden_size=1000)
MACHINE = Machine(
    peak_flops=4e12, utilisation=0.5, bandwidth=4e9, least_step=0.1, disk_bytes=1e9
)  # 2e12 FLOP/s, so 1 ms a token; 0.5 s a step; 2 s to load
PRESET = Preset(
    forget_tokens=[1000.0, 2000.0],
    retain_tokens=500.0,
    epochs=3,
    recompute=False,
    methods="ga npo_klr",
    optimizers="adamw",
    num_settings=2,
    quantizers="fp4 gptq4",
)


def test_multiplications_by_weights_and_tokens():
    """2 x 1e9 x 1000 / 2e12 = 1 s; three times that for 6 N T, four times for 8 N T."""
    assert forward_seconds(1000, MODEL, MACHINE) == pytest.approx(1)
    assert trained_seconds(1000, False, MODEL, MACHINE) == pytest.approx(3)
    assert trained_seconds(1000, True, MODEL, MACHINE) == pytest.approx(4)


def test_decoding_reads_the_weights_once_a_step():
    """16384 // (900 + 100) = 16 prompts a batch, 17 are 2 batches of 100 steps; 15.3 s to read."""
    assert decoding_seconds(17, 900, 100, MODEL, MACHINE) == pytest.approx(2 * 100 * 0.5 + 15.3)
    slow = replace(MACHINE, least_step=2.0)
    assert decoding_seconds(17, 900, 100, MODEL, slow) == pytest.approx(2 * 100 * 2 + 15.3)


def test_an_evaluation_loads_decodes_and_scores():
    """VerbMem: 14 a batch, 8 x 128 steps, 100 s of prompts. KnowMem: 37, 6 x 32, 80 s. Min-K."""
    expected = 2 + (8 * 128 * 0.5 + 100) + (6 * 32 * 0.5 + 80) + 409.6
    assert evaluation_seconds(MODEL, MACHINE) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("ga", 3 * 3),
        ("ga_gdr", 2 * 3 * 3),
        ("ga_klr", 2 * 3 * 3 + 0.5),
        ("npo", 3 * 3 + 1),
        ("npo_gdr", 2 * 3 * 3 + 1),
        ("npo_klr", 2 * 3 * 3 + 1 + 0.5),
    ],
)
def test_unlearning_trains_on_two_batches_with_a_retain_term_and_remembers(method, expected):
    """1000 tokens cost 3 s an epoch. The target is asked once: 1 s of forget, 0.5 s of retain."""
    seconds = unlearning_seconds(method, 1000, PRESET, MODEL, MACHINE)
    assert seconds == pytest.approx(expected + 4)  # loading and saving


def test_a_preset_adds_up_its_runs_controls_and_quantizers():
    """Two settings, two methods, two forget sets: 8 runs. With two controls a set, 12 models.

    GA trains 9 + 18 s, NPO_KLR 19.5 + 38.5, each setting; every run loads and saves in 4 s.
    """
    found = cost(PRESET, MODEL, MACHINE)
    each = evaluation_seconds(MODEL, MACHINE)
    assert (found.num_runs, found.num_evaluations) == (8, 36)
    assert found.training == pytest.approx(2 * (9 + 18 + 19.5 + 38.5) + 8 * 4)
    assert found.quantizing == pytest.approx(12 * 31 * 60)
    assert found.evaluating == pytest.approx(12 * (3 * each + 2 * 2))
    assert found.total == pytest.approx(found.training + found.quantizing + found.evaluating)
    assert found.disk == pytest.approx((8 + 2 + 6) * 2e9 + 12 * 0.58e9)


def test_saliency_is_computed_once_for_each_forget_term_and_set():
    """Two terms on 1000 and on 2000 tokens: 2 x 3 x 3 s; both optimizers train."""
    one, two = (
        cost(replace(PRESET, optimizers=names), MODEL, MACHINE) for names in ("adamw", "adamw sure")
    )
    assert two.training == pytest.approx(2 * one.training + 18)
    assert two.num_runs == 2 * one.num_runs


def test_memory_by_hand():
    """8192 tokens x 1000 channels = 8.192e6; 10 blocks."""
    options = {"with_retain": False, "recompute": True, "model": MODEL}
    assert training_bytes(8, **options) == pytest.approx(8e9 + (2 * 10 + 34) * 8.192e6)
    assert training_bytes(16, **options) - training_bytes(8, **options) == pytest.approx(8e9)
    options["with_retain"] = True
    assert training_bytes(8, **options) == pytest.approx(8e9 + (2 * 20 + 34) * 8.192e6)
    options["recompute"] = False
    assert training_bytes(8, **options) == pytest.approx(8e9 + 34 * 20 * 8.192e6)


def test_an_epoch_of_news_takes_six_minutes_and_fits():
    """8 x 6.74e9 x 0.83e6 / (0.4 x 312e12) = 359 s."""
    assert trained_seconds(0.83e6, True, LLAMA_7B, A100) == pytest.approx(358.6, rel=1e-3)
    for preset in PRESETS.values():
        assert cost(preset, LLAMA_7B, A100).peak < 80e9


def test_it_runs_without_torch(repository):
    code = "import sys; sys.modules['torch'] = None; from benchmarks.gpu_hours import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    rows = [line.split("|")[1].strip() for line in ran.stdout.splitlines() if "|" in line]
    assert rows[2:] == list(PRESETS)
