"""Several processes from the command line: the same models, told of in the record."""

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.artifacts import built, stamps
from unlearn_lab.record.side_files import read_sides

ARGUMENTS = ("method=npo_klr", "quant=none", "runtime.accelerator=cpu", "trainer.weights=fp32")


def saved(run, stage, record):
    """The weights of the stage that the record names."""
    return load_file(run.home / "cache" / stage / record[f"stages.{stage}"] / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_build_what_one_does(lab, tmp_path, strategy):
    """Each stage under the key that it has for one process, so a second run builds nothing."""
    watch = ("trainer.watch.every_epochs=1",) if strategy == "ddp" else ()
    two = lab(*ARGUMENTS, *watch, "runtime.devices=2", f"runtime.strategy={strategy}")
    assert two.status == 0, two.err
    one = lab(*ARGUMENTS, home=tmp_path / "one")
    assert one.status == 0, one.err
    record, expected = two.records[-1], one.records[-1]
    assert record["run_id"] == expected["run_id"]
    assert record["stages.unlearn"] == expected["stages.unlearn"]
    assert record["effective.devices"] == 2
    if watch:
        points = read_sides(two.home, record).curve.points
        assert [point.epoch for point in points] == [0, 1, 2]
        assert points[-1].full["knowmem"] == record["scores.unlearned.full.knowmem"]
    assert record["effective.strategy"] == strategy
    assert (expected["effective.devices"], expected["effective.strategy"]) == (1, "none")
    for stage in ("target", "retrain", "unlearn"):
        found, wanted = (saved(run, stage, expected) for run in (two, one))
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)
    before = stamps(two.home)
    again = lab(*ARGUMENTS)
    assert again.status == 0
    assert stamps(two.home) == before
    assert built(two.home)["unlearn"] == 1


@pytest.mark.slow
def test_a_diverged_training_is_told_in_words(lab):
    run = lab("method=ga", "optimizer.lr=1e30", *ARGUMENTS[1:], "runtime.devices=2")
    assert run.status == 1
    assert "became" in run.err
    assert "at step" in run.err
    assert "Traceback" not in run.err
