"""What the embedded default must do before anything is claimed with it (trained for real)."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", params=[0, 1])
def record(request, tmp_path_factory, forkserver):
    """The default's controls, and the method that shows the paper's effect, with one seed."""
    from tests.e2e.conftest import execute

    folder = tmp_path_factory.mktemp("preconditions")
    arguments = [
        "method=npo_gdr",
        "quant=rtn4",
        f"seed={request.param}",
        "report.wandb.mode=disabled",
    ]
    run = execute(forkserver, [*arguments, f"runtime.home={folder}/lab"], folder, folder / "lab")
    assert run.status == 0, run.err
    return run.records[-1]


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


def test_full_precision_forgets_and_keeps_its_utility(record):
    unlearned, retrain = scores(record, "unlearned", "full"), scores(record, "retrain", "full")
    assert unlearned[0] <= retrain[0] + 5
    assert unlearned[1] <= retrain[1] + 5
    assert unlearned[2] >= 0.6 * scores(record, "target", "full")[2]


def test_four_bits_bring_it_back(record):
    full, quantized = scores(record, "unlearned", "full"), scores(record, "unlearned", "quantized")
    retrain = scores(record, "retrain", "quantized")
    gains = [min(quantized[i] - full[i], quantized[i] - retrain[i]) for i in (0, 1)]
    assert max(gains) >= 20
