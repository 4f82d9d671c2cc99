"""A model exported in auto-gptq's or autoawq's format, and evaluated as somebody else's."""

import re

import pytest

from unlearn_lab.record.results import read_records

GROUPS = ("quant=rtn4", "quant.granularity=group", "quant.group_size=32")
SIZES = ("model.hidden_size=32", "model.intermediate_size=64")
METRICS = ("verbmem", "knowmem", "utility", "auc")


def test_what_the_format_cannot_hold_is_refused_before_training(lab):
    run = lab("quant=rtn4", "export=gptq")
    assert run.status == 2
    assert "export=gptq: layer model.layers.0.self_attn.q_proj has 16 input" in run.err
    assert not (run.home / "cache" / "target").exists()


@pytest.mark.prepared
@pytest.mark.gptqmodel
@pytest.mark.parametrize("format", ["gptq", "awq"])
def test_an_export_scores_as_the_model_that_it_was_made_from(lab, format):
    """Only scales were rounded, to float16; without quantized controls no share is reported."""
    first = lab("method=ga", *GROUPS, f"export={format}", *SIZES)
    assert first.status == 0, first.err
    (made,) = read_records(first.home)
    folder = first.home / made["export"]
    assert (folder / "quantize_config.json").exists()
    again = lab("method=ga", "quant=prequantized", f"quant.unlearned={folder}", *SIZES)
    assert again.status == 0, again.err
    (found,) = (row for row in read_records(again.home) if row["quant"] == "prequantized")
    held = made["config.trainer.weights"]
    ran = f"{format} checkpoint, .*unpacked to {held}: 4 bits, per 32 inputs"
    assert re.fullmatch(ran, found["effective.quantizer"])
    assert (found["quantizer.bits"], found["quantizer.group"]) == (4, "32 inputs")
    error = "quantizer.logit_error"
    assert found[error] == pytest.approx(made[error], rel=1e-2)
    for metric in METRICS:
        name = f"scores.unlearned.quantized.{metric}"
        assert found[name] == pytest.approx(made[name], abs=1), name
    assert made["recovery.verbmem.excess"] is not None
    for name in ("excess", "recovered_share", "retained_quantized"):
        assert found[f"recovery.verbmem.{name}"] is None
