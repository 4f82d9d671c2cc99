"""What cannot be exported in auto-gptq's and autoawq's formats is refused before anything runs."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_lab.config import libraries
from unlearn_lab.quantize.export_stage import require_exportable
from unlearn_lab.quantize.formats.gptqmodel_shapes import require_shapes
from unlearn_lab.quantize.rtn import RTN

RTN4 = RTN(bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax")


def llama(hidden: int, intermediate: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)


@pytest.fixture
def with_gptqmodel(monkeypatch):
    monkeypatch.setattr(libraries, "version", lambda _: "1.0")


@pytest.fixture
def without_gptqmodel(monkeypatch):
    def version(library):
        if library == "gptqmodel":
            raise libraries.PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(libraries, "version", version)


@pytest.mark.parametrize("format", ["gptq", "awq"])
@pytest.mark.parametrize("group_size", [None, 32, 64, 128])
def test_whole_groups_can_be_held(format, group_size):
    require_shapes(format, llama(256, 384), 4, group_size)


@pytest.mark.parametrize("format", ["gptq", "awq"])
def test_a_row_shorter_than_a_group_is_refused_with_the_largest_that_fits(format):
    """vLLM's readers of both formats and autoawq's want whole groups: 96 and 256 share 32."""
    message = (
        r"^quant.group_size=128: layer model.layers.0.self_attn.q_proj.* 96 input features; "
        rf".*export={format} .*whole groups.* quant.group_size=32"
    )
    with pytest.raises(ValueError, match=message):
        require_shapes(format, llama(96, 256), 4, 128)
    require_shapes(format, llama(96, 256), 4, 32)


def test_a_group_that_leaves_a_rest_is_refused():
    with pytest.raises(ValueError, match=r"mlp.down_proj has 192 .* choose quant.group_size=64"):
        require_shapes("gptq", llama(128, 192), 4, 128)
    with pytest.raises(
        ValueError, match=r"group_size=32: .* 40 input features; .* one scale a row"
    ):
        require_shapes("awq", llama(40, 40), 4, 32)


def test_group_sizes_that_readers_do_not_know_are_refused():
    with pytest.raises(ValueError, match=r"group_size=48: .* groups of 32, 64, 128 inputs, or one"):
        require_shapes("awq", llama(96, 96), 4, 48)


def test_features_must_fill_whole_words():
    """auto-gptq's layers want multiples of 32; autoawq packs eight output features into a word."""
    message = r"export=gptq: layer .*q_proj has 40 input and 40 output .* multiples of 32 and 32"
    with pytest.raises(ValueError, match=message):
        require_shapes("gptq", llama(40, 64), 4, None)
    require_shapes("awq", llama(40, 64), 4, None)
    with pytest.raises(ValueError, match=r"export=awq: layer .*gate_proj has 40 input and 60 out"):
        require_shapes("awq", llama(40, 60), 4, None)


@pytest.mark.parametrize(
    ("format", "bits", "message"),
    [
        ("gptq", 3, r"export=gptq: .*2 or 4 or 8 bits, not 3"),
        ("awq", 3, r"export=awq: \D*4 bits, not 3"),
        ("awq", 8, r"export=awq: \D*4 bits, not 8"),
    ],
)
def test_other_bit_widths_are_refused(with_gptqmodel, tokenizer, format, bits, message):
    with pytest.raises(ValueError, match=message):
        require_exportable(replace(RTN4, bits=bits), format, llama(64, 64), tokenizer)
    require_exportable(RTN4, format, llama(64, 64), tokenizer)


def test_shapes_are_compared_before_an_export(with_gptqmodel, tokenizer):
    quantizer = replace(RTN4, granularity="group", group_size=64)
    with pytest.raises(ValueError, match=r"group_size=64: layer .*has 96 .*quant.group_size=32"):
        require_exportable(quantizer, "gptq", llama(96, 96), tokenizer)


@pytest.mark.parametrize("format", ["gptq", "awq"])
def test_the_missing_library_is_named_with_its_extra(without_gptqmodel, tokenizer, format):
    with pytest.raises(ValueError, match=r"the library gptqmodel, .*'\.\[gptqmodel\]'"):
        require_exportable(RTN4, format, llama(64, 64), tokenizer)
    require_exportable(RTN4, True, llama(64, 64), tokenizer)
