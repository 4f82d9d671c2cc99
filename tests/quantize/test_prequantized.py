"""Checkpoints that somebody else quantized: what they say of themselves, and refusals."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from tests.quantize.formats.test_gguf_file import SIZES, byte_level
from unlearn_lab.config import libraries
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import Source, load_model, load_skeleton
from unlearn_lab.models.pointer import point
from unlearn_lab.models.quantized import without_notices
from unlearn_lab.quantize.bnb import BNB4, BNB8
from unlearn_lab.quantize.formats import gguf_file, packed
from unlearn_lab.quantize.gguf import GGUF
from unlearn_lab.quantize.prequantized import Prequantized, count_quantized, describe
from unlearn_lab.quantize.quantizer import AnyQuantizer, CalibratedQuantizer, Quantizer
from unlearn_lab.quantize.rtn import RTN

RTN4 = RTN(bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax")
MINMAX = replace(RTN4, symmetric=False, convention="minmax")


@pytest.fixture
def write(checkpoint, tokenizer, tmp_path):
    """Writes the checkpoint of the session, quantized."""

    def run(quantizer=RTN4):
        folder = tmp_path / "packed"
        folder.mkdir()
        packed.write(load_model(checkpoint, "fp32"), tokenizer, quantizer, folder)
        return folder

    return run


def given(unlearned, target=None, retrain=None):
    names = (None if path is None else str(path) for path in (unlearned, target, retrain))
    return Prequantized(**dict(zip(("unlearned", "target", "retrain"), names, strict=True)))


def test_it_is_neither_applied_on_load_nor_calibrated():
    quantizer = given("somewhere")
    assert isinstance(quantizer, AnyQuantizer)
    assert not isinstance(quantizer, Quantizer | CalibratedQuantizer)
    assert quantizer.bits is None


@pytest.mark.parametrize(
    ("quantizer", "bits", "group", "symmetric"),
    [
        (RTN4, 4, None, True),
        (replace(RTN4, bits=8), 8, None, True),
        (replace(MINMAX, granularity="group", group_size=8), 4, "8 inputs", False),
    ],
)
def test_a_checkpoint_describes_itself(write, quantizer, bits, group, symmetric):
    report = describe(str(write(quantizer)), None)
    assert report.library.startswith("compressed-tensors ")
    assert re.fullmatch("compressed-tensors checkpoint.*found", report.kernel)
    assert (report.bits, report.group, report.symmetric) == (bits, group, symmetric)
    assert (report.num_layers, report.convention, report.weight_error) == (None, None, {})


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_formats_of_gptqmodel_name_the_extra_where_it_is_missing(
    checkpoint, tmp_path, monkeypatch, method
):
    config = json.loads((checkpoint / "config.json").read_text())
    settings = {"quant_method": method, "bits": 4, "group_size": -1, "sym": True}
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    monkeypatch.setattr(libraries, "version", lambda _: "7.6.0")
    report = describe(str(tmp_path), None)
    assert re.fullmatch(f"{method} checkpoint.*found", report.kernel)
    assert (report.library, report.bits, report.group) == ("gptqmodel 7.6.0", 4, None)

    def version(library):
        raise libraries.PackageNotFoundError(library)

    monkeypatch.setattr(libraries, "version", version)
    with pytest.raises(ValueError, match=r"the library gptqmodel, .*'\.\[gptqmodel\]'"):
        describe(str(tmp_path), None)


def test_a_gguf_file_describes_itself_as_far_as_it_does(tmp_path):
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False))
    GGUF(format="q4_0").quantize(model)
    file = tmp_path / "model.gguf"
    gguf_file.write(model, byte_level(), "q4_0", file)
    report = describe(str(file), None)
    assert report.library.startswith("gguf ")
    assert re.fullmatch("gguf checkpoint.*found.*float32", report.kernel)
    assert (report.bits, report.group, report.symmetric) == (None, None, None)
    given(file).require_fit(model)
    assert count_quantized(file) == len(block_linears(model))
    elsewhere = {"tokenizer": None, "tokenizer_revision": None}
    point(tmp_path, Source(path=str(file), revision=None, trust_remote_code=False, **elsewhere))
    for weights in ("fp32", "bf16"):
        loaded = load_model(tmp_path, weights).float()
        assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
        assert torch.equal(
            loaded.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight
        )


def test_a_plain_checkpoint_is_refused(checkpoint):
    for quantizer in (given(checkpoint), given(checkpoint, target=checkpoint)):
        with pytest.raises(ValueError, match=rf"{checkpoint}: .*not quantized.* use model\.path"):
            quantizer.require_fit(load_skeleton(checkpoint))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.gguf"])
def test_a_missing_path_is_refused(checkpoint, tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}: (cannot be read|no such file)"):
        given(tmp_path / name).require_fit(load_skeleton(checkpoint))


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path}: cannot be read .*\(.{{9,}}\)$") as told:
        describe(str(tmp_path), None)
    assert "\n" not in str(told.value)


def test_another_model_is_refused(write, checkpoint, model, tmp_path):
    folder = write()
    given(folder, target=folder, retrain=folder).require_fit(load_skeleton(checkpoint))
    message = r"unlearned=.*: .*hidden_size=16.* model\.path .*\b8; .*quantized form"
    with pytest.raises(ValueError, match=message):
        given(folder).require_fit(model)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    for changed, told in (
        ({"vocab_size": 24}, r"vocab_size=24.* model\.path .*\b20"),
        ({"num_hidden_layers": 3}, r"num_hidden_layers=3.* model\.path .*\b2"),
        ({"model_type": "mistral"}, r"mistral.* model\.path .*llama model"),
    ):
        (other / "config.json").write_text(json.dumps({**config, **changed}))
        with pytest.raises(ValueError, match=rf"target=.*: .*{told}; .*quantized form"):
            given(folder, target=other).require_fit(load_skeleton(checkpoint))


@pytest.mark.parametrize("table", ["fp4", "nf4", "int8"])
def test_a_bitsandbytes_checkpoint_is_what_our_quantizer_makes(wide, tmp_path, table):
    """Written by transformers' own `load_in_4bit` and `load_in_8bit`, unpacked before it runs."""
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": table}
    settings = BitsAndBytesConfig(**({"load_in_8bit": True} if table == "int8" else four))
    with without_notices():
        theirs = AutoModelForCausalLM.from_pretrained(
            wide, quantization_config=settings, dtype=torch.float32
        )
    theirs.save_pretrained(tmp_path)
    loaded, ours = load_model(tmp_path, "fp32"), load_model(wide, "fp32")
    quantizer = BNB8() if table == "int8" else BNB4(table=table, block_size=64)
    quantizer.quantize(ours)
    for name, layer in block_linears(loaded).items():
        assert type(layer) is torch.nn.Linear
        torch.testing.assert_close(
            layer.weight, block_linears(ours)[name].weight, rtol=1e-6, atol=1e-6
        )
    report = describe(str(tmp_path), None)
    assert count_quantized(tmp_path) == 14
    assert report.library.startswith("bitsandbytes ")
    assert report.bits == quantizer.bits


def test_rows_that_bitsandbytes_reads_wrongly_on_a_cpu_are_refused(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=96,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "plain")
    settings = BitsAndBytesConfig(load_in_4bit=True)
    with without_notices():
        theirs = AutoModelForCausalLM.from_pretrained(
            tmp_path / "plain", quantization_config=settings, dtype=torch.float32
        )
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"layer .*: rows of 96 .*not a multiple .*bitsandbytes"):
        load_model(tmp_path / "theirs", "fp32")


def test_a_format_that_is_not_read_here_is_refused_in_one_line(checkpoint, tmp_path):
    config = json.loads((checkpoint / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"fp8, .*not supported; compressed-tensors, gptq, awq"):
        describe(str(tmp_path), None)


def test_a_checkpoint_that_only_says_it_is_quantized_is_refused(checkpoint):
    with pytest.raises(ValueError, match=rf"{checkpoint}: no layer .*quantized"):
        count_quantized(checkpoint)


def test_a_model_of_a_gguf_file_can_be_trained_from_and_saved(tmp_path):
    """It says no longer that it is quantized, and what is saved holds its weights."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False))
    GGUF(format="q4_0").quantize(model)
    file = tmp_path / "model.gguf"
    gguf_file.write(model, byte_level(), "q4_0", file)
    source = Source(
        path=str(file),
        revision=None,
        tokenizer=None,
        tokenizer_revision=None,
        trust_remote_code=False,
    )
    point(tmp_path, source)
    loaded = load_model(tmp_path, "fp32")
    loaded.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    again = load_model(tmp_path / "saved", "fp32").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in loaded.state_dict().items())
