"""Adapters from the command line to the record."""

import pytest

from tests.e2e.artifacts import built, stamps

ARGUMENTS = ("trainer/adapter=lora", "method=npo_gdr", "quant=rtn4", "optimizer.lr=1e-2")


@pytest.mark.prepared
def test_adapters_are_merged_quantized_and_told_of(lab):
    run = lab(*ARGUMENTS)
    assert run.status == 0, run.err
    record = run.records[-1]
    assert (record["adapter.rank"], record["adapter.layers"]) == (16, 14)
    assert record["adapter.library"].startswith("peft ")
    assert 0 < record["adapter.changed"] <= 1
    assert (record["effective.weights"], record["effective.adapter_weights"]) == ("bf16", "float32")
    assert record["effective.optimizer_state"] == "float32"
    assert record["codes.moved"] == pytest.approx(record["adapter.changed"])
    assert record["codes.cannot_move"] == 0
    unlearned = next((run.home / "cache" / "unlearn").glob("*/"))
    assert not list(unlearned.glob("adapter*"))
    before = stamps(run.home)
    again = lab(*ARGUMENTS, "runtime.gradient_checkpointing=true")
    assert stamps(again.home) == before


@pytest.mark.slow
@pytest.mark.prepared
def test_a_stop_rule_scores_the_model_with_its_adapters(lab):
    settings = ("trainer/stop=utility", "trainer.epochs=2", "runtime.gradient_checkpointing=true")
    run = lab(*ARGUMENTS, *settings)
    assert run.status == 0, run.err
    assert run.records[-1]["stopped_epoch"] == 2
    assert built(run.home)["unlearn"] == 1
    assert "cach" not in run.err.lower()
