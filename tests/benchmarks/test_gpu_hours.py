"""Costs worked out by hand for a machine and a model of round numbers."""

import subprocess
import sys
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from benchmarks.gpu_hours import (
    A100,
    LLAMA_7B,
    Machine,
    Model,
    cost,
    decoding_seconds,
    evaluation_seconds,
    forget_term,
    forward_seconds,
    main,
    told,
    trained_seconds,
    training_bytes,
    unlearning_seconds,
)
from benchmarks.presets import NEWS_FOLDS, Preset, load_presets, preset_of

MODEL = Model(num_parameters=1e9, num_layers=10, hidden_size=1000)
MACHINE = Machine(
    peak_flops=4e12, utilisation=0.5, bandwidth=4e9, least_step=0.1, disk_bytes=1e9
)  # 2e12 FLOP/s, so 1 ms a token; 0.5 s a step; 2 s to load
PARAMS = {
    "method": ["ga", "npo_klr"],
    "optimizer.lr": ["1", "2"],
    "dataset.fold": ["1", "2"],
    "quant": ["none", "fp4", "gptq4"],
}
PRESET = Preset(
    params=PARAMS,
    forget_tokens=[1000.0, 2000.0],
    retain_tokens=500.0,
    epochs=3,
    batch_size=4,
    length=2048,
    stops=False,
    further=False,
)


@pytest.fixture(scope="module")
def presets():
    return load_presets()


def test_multiplications_by_weights_and_tokens():
    """2 x 1e9 x 1000 / 2e12 = 1 s; four times that for 8 N T."""
    assert forward_seconds(1000, MODEL, MACHINE) == pytest.approx(1)
    assert trained_seconds(1000, MODEL, MACHINE) == pytest.approx(4)


def test_decoding_reads_the_weights_once_a_step():
    """16384 // (900 + 100) = 16 prompts a batch, 17 are 2 batches of 100 steps; 15.3 s to read."""
    assert decoding_seconds(17, 900, 100, MODEL, MACHINE) == pytest.approx(2 * 100 * 0.5 + 15.3)
    slow = replace(MACHINE, least_step=2.0)
    assert decoding_seconds(17, 900, 100, MODEL, slow) == pytest.approx(2 * 100 * 2 + 15.3)


def test_an_evaluation_loads_decodes_and_scores():
    """VerbMem: 14 a batch, 8 x 128 steps, 100 s of prompts. KnowMem: 37, 6 x 32, 80 s. Min-K."""
    expected = 2 + (8 * 128 * 0.5 + 100) + (6 * 32 * 0.5 + 80) + 409.6
    assert evaluation_seconds(PRESET, MODEL, MACHINE) == pytest.approx(expected)


def test_further_utility_decodes_and_scores_more():
    """TriviaQA: 35 a batch, 3 x 256 steps, 20 s. Fluency: 103, 128 steps, 3 s. 759,000 tokens."""
    plain, further = (
        evaluation_seconds(replace(PRESET, further=asked), MODEL, MACHINE)
        for asked in (False, True)
    )
    assert further - plain == pytest.approx((3 * 256 * 0.5 + 20) + (128 * 0.5 + 3) + 759)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("ga", 3 * 4),
        ("ga_gdr", 2 * 3 * 4),
        ("ga_muse_klr", 2 * 3 * 4 + 0.5),
        ("npo_muse", 3 * 4 + 1),
        ("npo_muse_gdr", 2 * 3 * 4 + 1),
        ("npo_klr", 2 * 3 * 4 + 1 + 0.5),
    ],
)
def test_unlearning_trains_on_two_batches_with_a_retain_term_and_remembers(method, expected):
    """1000 tokens cost 4 s an epoch. The target is asked once: 1 s of forget, 0.5 s of retain."""
    seconds = unlearning_seconds(method, 1000, PRESET, MODEL, MACHINE)
    assert seconds == pytest.approx(expected + 4)  # loading and saving


def test_a_rule_that_may_stop_asks_after_each_epoch():
    """100 questions: 3 batches of 32 steps of 0.5 s, 40 s of prompts, three times."""
    asking, plain = (
        unlearning_seconds("ga", 1000, replace(PRESET, stops=stops), MODEL, MACHINE)
        for stops in (True, False)
    )
    assert asking - plain == pytest.approx(3 * (3 * 32 * 0.5 + 40))


def test_a_preset_adds_up_its_runs_controls_and_quantizers():
    """Two settings, two methods, two folds: 8 runs; with two controls, 10 models.

    GA trains 12 + 24 s, NPO_KLR 25.5 + 50.5, each setting; every run loads and saves in 4 s.
    """
    found = cost(PRESET, MODEL, MACHINE)
    each = evaluation_seconds(PRESET, MODEL, MACHINE)
    assert (found.num_jobs, found.num_runs, found.num_evaluations) == (24, 8, 30)
    assert found.training == pytest.approx(2 * (12 + 24 + 25.5 + 50.5) + 8 * 4)
    assert found.quantizing == pytest.approx(10 * 31 * 60)
    assert found.evaluating == pytest.approx(10 * (3 * each + 2 * 2))
    assert found.total == pytest.approx(found.training + found.quantizing + found.evaluating)
    assert found.disk == pytest.approx((8 + 2 + 6) * 2e9 + 10 * 0.58e9)


def test_full_precision_is_no_further_evaluation():
    without = replace(PRESET, params={**PARAMS, "quant": ["fp4", "gptq4"]})
    one, two = cost(PRESET, MODEL, MACHINE), cost(without, MODEL, MACHINE)
    assert replace(one, num_jobs=two.num_jobs) == two


def test_saliency_is_computed_once_for_each_forget_term_and_fold():
    """Two terms on 1000 and on 2000 tokens: 2 x 3 x 4 s; both optimizers train."""
    one, two = (
        cost(replace(PRESET, params={**PARAMS, "optimizer": names}), MODEL, MACHINE)
        for names in (["adamw"], ["adamw", "sure"])
    )
    assert two.training == pytest.approx(2 * one.training + 24)
    assert two.num_runs == 2 * one.num_runs
    terms = [forget_term(name) for name in ("ga_muse_klr", "ga", "npo_muse_gdr", "npo_klr")]
    assert terms == ["ga", "ga", "npo_muse", "npo"]


def test_memory_by_hand():
    """8192 tokens x 1000 channels = 8.192e6; 10 blocks."""
    alone = replace(PRESET, params={"method": ["ga", "npo_muse"]})
    options = {"recompute": True, "model": MODEL}
    assert training_bytes(8, alone, **options) == pytest.approx(8e9 + (2 * 10 + 34) * 8.192e6)
    more = training_bytes(16, alone, **options) - training_bytes(8, alone, **options)
    assert more == pytest.approx(8e9)
    assert training_bytes(8, PRESET, **options) == pytest.approx(8e9 + (2 * 20 + 34) * 8.192e6)
    half = replace(PRESET, batch_size=2)
    assert training_bytes(8, half, **options) == pytest.approx(8e9 + (2 * 20 + 34) * 4.096e6)
    options["recompute"] = False
    assert training_bytes(8, PRESET, **options) == pytest.approx(8e9 + 34 * 20 * 8.192e6)


@pytest.mark.slow
def test_presets_are_read_from_the_grids(presets):
    assert len(presets) == 16
    assert "paper_quantizers_tiny" not in presets
    sure = presets["paper_sure"]
    assert (sure.optimizers, sure.quantizers) == (["adamw", "sure"], ["fp4"])
    assert (sure.epochs, sure.batch_size, sure.stops, sure.further) == (5, 2, False, True)
    lr = presets["paper_lr"]
    assert (lr.num_settings, lr.epochs, lr.batch_size, lr.num_runs) == (6, 1, 4, 12)
    large, chained = presets["muse_scalability"], presets["muse_sustainability"]
    assert (large.stops, large.epochs, large.num_runs) == (True, 10, 24)
    assert large.forget_tokens == NEWS_FOLDS
    assert chained.forget_tokens == NEWS_FOLDS[:1] * 4


@pytest.mark.slow
def test_a_twin_costs_the_same(presets):
    for name, preset in presets.items():
        if not name.endswith("_corrected"):
            assert told(presets[f"{name}_corrected"]) == told(preset)


def test_a_swept_setting_of_unknown_cost_is_refused():
    config = OmegaConf.create({"hydra": {"sweeper": {"params": {"trainer.epochs": "1,2"}}}})
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.params\.trainer\.epochs: method"):
        preset_of(config)


def test_an_epoch_of_news_takes_six_minutes_and_fits(presets):
    """8 x 6.74e9 x 0.83e6 / (0.4 x 312e12) = 359 s."""
    assert trained_seconds(0.83e6, LLAMA_7B, A100) == pytest.approx(358.6, rel=1e-3)
    for preset in presets.values():
        assert cost(preset, LLAMA_7B, A100).peak < 80e9


def test_a_rule_that_may_stop_makes_it_an_upper_bound(presets):
    found = cost(presets["muse_scalability"], LLAMA_7B, A100)
    assert told(presets["muse_scalability"]).startswith(
        f"24 jobs, at most {found.total / 3600:.0f} GPU-hours"
    )
    assert told(presets["paper_news"]).startswith("18 jobs, about ")


def test_the_table_is_the_one_in_the_results(capsys, repository):
    main()
    table = capsys.readouterr().out.partition("with fp32")[0]
    assert "| paper_news |" in table
    assert table in (repository / "benchmarks" / "RESULTS.md").read_text()


def test_it_needs_no_torch(repository):
    code = "import sys; sys.modules['torch'] = None; import benchmarks.gpu_hours"
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)
