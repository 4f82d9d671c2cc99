"""Quantizers through the command line: what is built, recorded, exported and refused."""

import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.e2e.artifacts import built, stamps
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.gguf import GGUF
from unlearn_lab.record.results import read_records

BLOCKS_OF_32 = ("model.hidden_size=32", "model.intermediate_size=64")


@pytest.mark.parametrize(
    "quantizers",
    [
        ["gptq4", "nf4", "gguf_q4_0"],  # one of each library
        pytest.param(
            ["gptq4", "gptq8", "awq4", "fp4", "nf4", "int8", "llmint8", "gguf_q4_0", "gguf_q8_0"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_quantizer_goes_the_same_road(lab, quantizers):
    first = lab("-m", "method=npo_gdr", f"quant={','.join(quantizers)}", *BLOCKS_OF_32)
    assert first.status == 0, first.err
    stages = built(first.home)
    assert (stages["target"], stages["retrain"], stages["unlearn"]) == (1, 1, 1)
    assert (stages["calibration"], stages["quantize"]) == (1, len(quantizers))
    assert stages["evaluate"] == 3 + len(quantizers) * 3
    records = {record["quant"]: record for record in read_records(first.home)}
    assert records.keys() == set(quantizers)
    for name, record in records.items():
        library = {"g": "llmcompressor", "a": "llmcompressor"}.get(name[0], "bitsandbytes")
        library = "gguf" if name.startswith("gguf") else library
        assert record["quantizer.library"].startswith(f"{library} ")
        assert record["quantizer.bits"] == (4 if "4" in name else 8)
        assert record["effective.quantized_layers"] == 14
        assert 0 < record["quantizer.weight_error"] < 1
        assert 0 < record["quantizer.logit_error"] < 10
        assert 0 <= record["codes.flip_rate"] <= 1
        uneven = name in ("fp4", "nf4", "awq4")
        assert (record["codes.relative_step"] is None) == uneven
        layers = json.loads((first.home / record["layers"]).read_text())["layers"]
        assert all(figures["weight_error"] > 0 for figures in layers.values())
    if "gptq8" in records:
        assert records["gptq4"]["quantizer.bytes"] < records["gptq8"]["quantizer.bytes"]
    assert records["gptq4"]["seconds.quantize"] > 0
    assert records["gptq4"]["config.quant.calibration.source"] == "generic"
    assert "it/s" not in first.err
    assert "MatMul8bitLt" not in first.err
    before = stamps(first.home)
    again = lab(*("-m", "method=npo_gdr", "quant=gptq4,nf4"), *BLOCKS_OF_32)
    assert again.status == 0
    assert stamps(again.home) == before


@pytest.mark.prepared
@pytest.mark.slow
def test_calibration_is_a_choice_of_its_own(lab):
    run = lab(
        *("-m", "method=ga", "quant=gptq4", "quant/calibration=generic,retain,forget,mixed"),
        *("quant.calibration.num_samples=2", "quant.calibration.length=32"),
    )
    assert run.status == 0, run.err
    assert built(run.home)["calibration"] == 4
    sources = [record["config.quant.calibration.source"] for record in read_records(run.home)]
    assert sorted(sources) == ["forget", "generic", "mixed", "retain"]
    assert "generic" in run.out
    assert "forget" in run.out


@pytest.mark.prepared
@pytest.mark.parametrize(
    "quant",
    [pytest.param(quant, marks=pytest.mark.slow) for quant in ("gptq4", "rtn4", "awq4")],
)
def test_an_export_is_the_model_that_was_evaluated(lab, quant):
    run = lab("method=ga", f"quant={quant}", "export=true")
    assert run.status == 0, run.err
    record = run.records[-1]
    folder = run.home / record["export"]
    assert str(folder) in run.err
    exported = AutoModelForCausalLM.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)("The mayor of", return_tensors="pt")["input_ids"]
    evaluated = load_model(folder, "bf16")
    assert torch.equal(exported(tokens).logits, evaluated(tokens).logits)
    manifests = [
        json.loads(path.read_text()) for path in (run.home / "cache/evaluate").glob("*/manifest*")
    ]
    used = [stage["stage"]["inputs"].get("quantized") for stage in manifests]
    assert folder.name in used


@pytest.mark.prepared
@pytest.mark.slow
def test_a_gguf_export_holds_the_evaluated_weights(lab):
    run = lab("method=ga", "quant=gguf_q4_0", "export=true", *BLOCKS_OF_32)
    assert run.status == 0, run.err
    record = run.records[-1]
    folder = run.home / record["export"]
    assert [file.name for file in folder.glob("*.gguf")] == ["model-q4_0.gguf"]
    read_back = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file="model-q4_0.gguf", dtype=torch.float32
    )
    evaluated = load_model(run.home / "cache/unlearn" / record["stages.unlearn"], "bf16")
    GGUF(format="q4_0").quantize(evaluated)
    for name, weight in evaluated.state_dict().items():
        assert torch.equal(read_back.state_dict()[name], weight), name
    again = lab(
        *("method=ga", "quant=prequantized", f"quant.unlearned={folder / 'model-q4_0.gguf'}"),
        *BLOCKS_OF_32,
    )
    assert again.status == 0, again.err
    found = again.records[-1]
    assert found["effective.quantizer"].startswith("gguf checkpoint")
    assert found["effective.quantized_layers"] == 14
    assert found["quantizer.logit_error"] == pytest.approx(record["quantizer.logit_error"])
    for metric in ("verbmem", "knowmem", "utility"):
        path = f"scores.unlearned.quantized.{metric}"
        assert found[path] == record[path]


@pytest.mark.prepared
@pytest.mark.slow
def test_somebody_elses_quantized_model_is_evaluated_as_it_is(lab):
    first = lab("method=ga", "quant=rtn4", "export=true")
    exported = first.home / first.records[-1]["export"]
    run = lab("method=ga", "quant=prequantized", f"quant.unlearned={exported}")
    assert run.status == 0, run.err
    record, ours = run.records[-1], first.records[-1]
    assert record["effective.quantizer"].startswith("compressed-tensors checkpoint")
    for metric in ("verbmem", "knowmem", "utility"):
        path = f"scores.unlearned.quantized.{metric}"
        assert record[path] == ours[path]
    assert record["recovery.verbmem.delta"] == ours["recovery.verbmem.delta"]
    assert record["recovery.verbmem.recovered_share"] is None
    assert record["recovery.verbmem.excess"] is None
    assert "scores.target.quantized.verbmem" not in record
    assert built(run.home)["evaluate"] == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quant=gptq4", "quant.group_size=5"], "quant.group_size=5: layer model.layers.0"),
        (["quant=gptq4", "quant.bits=16"], "quant.bits=16: .*whole number .*2 to 8"),
        (["quant=gptq4", "quant.dampening=0"], "quant.dampening=0.0: must be above 0"),
        (
            ["quant=gptq4", "quant.calibration.num_samples=99999"],
            "quant.calibration.num_samples=99999: the generic texts hold",
        ),
        (
            ["quant=gptq4", "quant.calibration.length=1024"],
            "quant.calibration.length=1024: the model has 512 positions",
        ),
        (
            ["quant=gptq4", "quant.calibration.source=wiki"],
            "quant.calibration.source='wiki': .*one of generic, retain, forget, mixed",
        ),
        (
            ["quant=gptq4", "generic_text.corpus=${dataset}"],
            r"source=generic: \d+ .*are forget texts",
        ),
        (
            ["quant=gptq4", "generic_text=hf"],
            "generic_text.path=Salesforce/wikitext: not a folder, .*reachable",
        ),
        (["quant=gguf_q4_0"], "quant.format=q4_0: layer model.layers.0.self_attn.q_proj has 16"),
        (["quant=gguf_q4_0", "quant.format=q5"], "quant.format='q5': .*one of q4_0, q8_0"),
        (["quant=nf4", "quant.block_size=48"], "quant.block_size=48: .*one of 64, 128"),
        (["quant=nf4", "export=true"], "export=True: BNB4 has no file format"),
        (["quant=llmint8", "export=true"], "export=True: LLMInt8 has no file format"),
        (["quant=llmint8", "quant.threshold=-1"], r"quant.threshold=-1.0: must be 0 \(no outlier"),
        (["quant=rtn4", "export=gguf"], "export=gguf: .*one of compressed-tensors, gptq, awq"),
        (["quant=awq4", "quant.num_grid=1"], "quant.num_grid=1: must be at least 3"),
        (["quant=prequantized"], "quant.unlearned: must be given.* quant.unlearned=VALUE"),
        (
            ["quant=prequantized", "quant.unlearned=nowhere"],
            "quant.unlearned=nowhere: not a folder, .*reachable",
        ),
    ],
)
def test_impossible_quantizers_are_refused_before_training(refusing_lab, arguments, message):
    run = refusing_lab(*arguments)
    assert run.status == 2, run.err
    assert re.search(message, run.err), run.err
    assert "Traceback" not in run.err
    stages = built(run.home) if (run.home / "cache").exists() else {}
    assert not {"target", "retrain", "unlearn"} & set(stages)
