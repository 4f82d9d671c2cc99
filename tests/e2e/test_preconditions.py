"""What the embedded default must do before anything is claimed with it (trained for real)."""

import pytest

from tests.e2e.conftest import execute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("preconditions")


@pytest.fixture(scope="module")
def measure(home, forkserver):
    """Runs leaves of the default recipe in one home and gives their records by quantizer."""

    def run(*arguments):
        settings = [*arguments, "report.wandb.mode=disabled", f"runtime.home={home}/lab"]
        done = execute(forkserver, ["-m", *settings], home, home / "lab")
        assert done.status == 0, done.err
        return {record["quant"]: record for record in done.records}

    return run


@pytest.fixture(scope="module", params=[0, 1])
def record(request, measure):
    """The controls, with two seeds."""
    return measure("method=ga", "quant=rtn4", f"seed={request.param}")["rtn4"]


@pytest.fixture(scope="module")
def effect(measure):
    """The method that shows the paper's effect, with the default seed."""
    return measure("method=npo_gdr", "quant=rtn8,rtn4")


def scores(record, who, precision):
    return [
        record[f"scores.{who}.{precision}.{metric}"] for metric in ("verbmem", "knowmem", "utility")
    ]


def test_the_target_has_learned_the_corpus(record):
    verbmem, knowmem, utility = scores(record, "target", "full")
    assert verbmem >= 90
    assert knowmem >= 70
    assert utility >= 70


def test_the_target_survives_four_bits(record):
    full, quantized = scores(record, "target", "full"), scores(record, "target", "quantized")
    assert quantized[0] >= 0.7 * full[0]
    assert quantized[1] >= 0.7 * full[1]


def test_the_retrain_control_never_knew_and_is_as_good_otherwise(record):
    verbmem, knowmem, utility = scores(record, "retrain", "full")
    assert verbmem <= 30
    assert knowmem <= 15
    assert utility >= scores(record, "target", "full")[2] - 5


def test_full_precision_forgets_and_keeps_its_utility(effect):
    unlearned = scores(effect["rtn4"], "unlearned", "full")
    retrain = scores(effect["rtn4"], "retrain", "full")
    assert unlearned[0] <= retrain[0] + 5
    assert unlearned[1] <= retrain[1] + 5
    assert unlearned[2] >= 0.6 * scores(effect["rtn4"], "target", "full")[2]


def test_eight_bits_change_little(effect):
    full = scores(effect["rtn8"], "unlearned", "full")
    quantized = scores(effect["rtn8"], "unlearned", "quantized")
    assert abs(quantized[0] - full[0]) < 5
    assert abs(quantized[1] - full[1]) < 5


def test_four_bits_bring_it_back(effect):
    full = scores(effect["rtn4"], "unlearned", "full")
    quantized = scores(effect["rtn4"], "unlearned", "quantized")
    retrain = scores(effect["rtn4"], "retrain", "quantized")
    assert max(min(quantized[i] - full[i], quantized[i] - retrain[i]) for i in (0, 1)) >= 20


def test_with_fp32_weights_nothing_comes_back(measure, effect):
    """The same losses, as much forgetting in full precision: the difference is the dtype."""
    found = measure("method=npo_gdr", "quant=rtn4", "trainer.weights=fp32", "trainer.epochs=20")
    full = scores(found["rtn4"], "unlearned", "full")
    quantized = scores(found["rtn4"], "unlearned", "quantized")
    assert full[1] <= scores(effect["rtn4"], "unlearned", "full")[1] + 5
    assert quantized[0] - full[0] < 10
    assert quantized[1] - full[1] < 10


def test_sure_keeps_it_from_coming_back(measure):
    found = measure("method=npo_gdr", "optimizer=sure", "quant=rtn4")["rtn4"]
    full, quantized = scores(found, "unlearned", "full"), scores(found, "unlearned", "quantized")
    retrain = scores(found, "retrain", "full")
    assert full[0] <= retrain[0] + 5
    assert full[1] <= retrain[1] + 5
    assert full[2] >= 0.6 * scores(found, "target", "full")[2]
    assert quantized[0] - full[0] < 10
    assert quantized[1] - full[1] < 10
    assert found["mask.kept"] == pytest.approx(0.1, abs=0.01)


def test_so_does_the_large_learning_rate_without_a_mask(measure):
    arguments = ("method=npo_gdr", "optimizer.lr=5e-4", "trainer.epochs=25", "quant=rtn4")
    found = measure(*arguments)["rtn4"]
    full, quantized = scores(found, "unlearned", "full"), scores(found, "unlearned", "quantized")
    assert full[1] <= scores(found, "retrain", "full")[1] + 5
    assert full[2] >= 0.6 * scores(found, "target", "full")[2]
    assert quantized[0] - full[0] < 10
    assert quantized[1] - full[1] < 10


@pytest.fixture(scope="module")
def four_bits(measure):
    """The same unlearned model under every kind of 4-bit quantizer."""
    return measure("method=npo_gdr", "quant=rtn4,fp4,nf4,gptq4,awq4,gguf_q4_0")


@pytest.mark.parametrize("quant", ["rtn4", "fp4"])
def test_coarse_rounding_brings_answers_back(four_bits, quant):
    assert four_bits[quant]["recovery.knowmem.recovered_share"] >= 0.3
    assert four_bits[quant]["quantizer.logit_error"] > 0.3


@pytest.mark.parametrize("quant", ["nf4", "gptq4", "awq4", "gguf_q4_0"])
def test_quantizers_that_keep_the_outputs_keep_it_forgotten(four_bits, quant):
    assert four_bits[quant]["recovery.knowmem.recovered_share"] <= 0.1
    assert four_bits[quant]["quantizer.logit_error"] < four_bits["fp4"]["quantizer.logit_error"]
