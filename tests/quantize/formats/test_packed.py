"""Exports: what is stored is what RTN rounds to, and loaders find exactly that."""

import itertools
import json
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.compressor import config_groups, other_linears, quietly
from unlearn_lab.quantize.formats import packed
from unlearn_lab.quantize.grid import decode
from unlearn_lab.quantize.rtn import RTN

RTN4 = RTN(bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax")
MINMAX = replace(RTN4, symmetric=False, convention="minmax")
UP = "model.layers.1.mlp.up_proj"
SPREADS = [("row", None), ("tensor", None), ("group", 4)]


def settings_of_rtn():
    """All of them; by default each pair of settings at least once."""
    every = itertools.product(
        enumerate((2, 3, 4, 8)),
        enumerate(("absmax", "paper", "full_range", "minmax")),
        enumerate(SPREADS),
        enumerate(("fp32", "bf16")),
    )
    for (i, bits), (j, convention), (k, spread), (n, weights) in every:
        chosen = (i + j) % 4 in (k, 3) and (i + k) % 2 == n
        marks = [] if chosen else [pytest.mark.slow]
        yield pytest.param(bits, convention, *spread, weights, marks=marks)


@pytest.fixture
def write(wide, tokenizer, tmp_path):
    def run(quantizer=RTN4, weights="fp32", source=wide):
        folder = tmp_path / "export"
        folder.mkdir()
        return folder, packed.write(load_model(source, weights), tokenizer, quantizer, folder)

    return run


@pytest.fixture
def narrow(model, tmp_path):
    """Rows of 8 and 12 weights: their codes fill no whole number of words on disk."""
    model.save_pretrained(tmp_path / "narrow")
    return tmp_path / "narrow"


@pytest.mark.parametrize(
    ("bits", "convention", "granularity", "group_size", "weights"), list(settings_of_rtn())
)
def test_the_codes_on_disk_are_those_of_rtn(
    write, narrow, weights, granularity, group_size, convention, bits
):
    quantizer = RTN(
        bits=bits,
        symmetric=convention != "minmax",
        granularity=granularity,
        group_size=group_size,
        convention=convention,
    )
    folder, _ = write(quantizer, weights, narrow)
    for name, layer in block_linears(load_model(narrow, weights)).items():
        found = packed.read_codes(folder, name, bits=bits, rescaled=False)
        wanted = quantizer.codes(layer.weight)
        assert torch.equal(found.integers, wanted.integers)
        tolerance = 0 if weights == "fp32" else 2**-8
        torch.testing.assert_close(found.steps, wanted.steps, rtol=tolerance, atol=0)


@pytest.mark.parametrize("quantizer", [RTN4, MINMAX, replace(RTN4, bits=8)])
def test_in_float32_the_export_is_the_model_that_is_evaluated(write, wide, sequences, quantizer):
    folder, report = write(quantizer)
    model = load_model(wide, "fp32")
    assert quantizer.quantize(model).weight_error == pytest.approx(report.weight_error, abs=1e-9)
    exported = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(exported(sequences).logits, model(sequences).logits)
    assert torch.equal(exported(sequences).logits, load_model(folder, "fp32")(sequences).logits)


def test_in_bfloat16_scales_are_kept_in_bfloat16_and_the_report_says_so(write):
    folder, report = write(weights="bf16")
    assert re.fullmatch(".*nearest .*float32, scales .*bfloat16", report.kernel)
    assert load_file(folder / "model.safetensors")[f"{UP}.weight_scale"].dtype == torch.bfloat16
    layer = block_linears(load_model(folder, "bf16"))[UP]
    codes = packed.read_codes(folder, UP, bits=4, rescaled=False)
    assert torch.equal(decode(codes, torch.bfloat16), layer.weight)


def test_embeddings_head_and_norms_are_kept(write, wide):
    folder, _ = write()
    before, after = load_model(wide, "fp32"), load_model(folder, "fp32")
    layers = set(block_linears(before))
    for name, parameter in before.named_parameters():
        if name.removesuffix(".weight") not in layers:
            assert torch.equal(after.state_dict()[name], parameter)
    settings_on_disk = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert settings_on_disk["ignore"] == ["lm_head"]
    assert (folder / "tokenizer.json").exists()


@pytest.mark.parametrize(("convention", "symmetric"), [("minmax", False), ("full_range", True)])
@pytest.mark.parametrize("group_size", [None, 64])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_rtn_is_llm_compressors_rtn(wide, convention, symmetric, group_size, bits):
    """The independent oracle, to 1e-5, on the grids that both have."""
    ours = RTN(
        bits=bits,
        symmetric=symmetric,
        granularity="group" if group_size else "row",
        group_size=group_size,
        convention=convention,
    )
    theirs = load_model(wide, "fp32")
    with quietly():
        from compressed_tensors.quantization import forward_quantize
        from llmcompressor import oneshot
        from llmcompressor.modifiers.quantization import QuantizationModifier

        schemes = config_groups(block_linears(theirs), ours)
        modifier = QuantizationModifier(config_groups=schemes, ignore=other_linears(theirs))
        oneshot(model=theirs, recipe=[modifier])
        rounded = {
            name: forward_quantize(layer, layer.weight, "weight", layer.quantization_scheme.weights)
            for name, layer in block_linears(theirs).items()
        }
    for name, layer in block_linears(load_model(wide, "fp32")).items():
        nearest = decode(ours.codes(layer.weight), torch.float32)
        close = torch.isclose(nearest, rounded[name], rtol=1e-5, atol=1e-5)
        assert close.float().mean() > 0.9999, name  # ties may fall to either side


@given(
    values=st.lists(st.floats(-100, 100, width=32), min_size=16, max_size=16),
    bits=st.sampled_from([2, 3, 4, 8]),
    symmetric=st.booleans(),
)
@settings(max_examples=60)
def test_stored_steps_and_zero_points_give_the_rounded_weight_back(values, bits, symmetric):
    """The arithmetic alone, without files, rows of zeros included."""
    layer = torch.nn.Linear(8, 2, bias=False)
    weight = torch.tensor(values).reshape(2, 8)
    quantizer = replace(RTN4 if symmetric else MINMAX, bits=bits)
    packed._store(layer, weight, quantizer)
    codes = quantizer.codes(weight)
    assert torch.equal(layer.weight, decode(codes, torch.float32))
    scale = layer.weight_scale.expand(2, 8)
    zero = 0 if symmetric else layer.weight_zero_point.float()
    stored = torch.round(layer.weight / scale) + zero
    assert torch.equal((stored - zero).to(torch.int16), codes.integers)
    assert stored.min() >= -(2 ** (bits - 1))
    assert stored.max() <= 2 ** (bits - 1) - 1


def test_a_sharded_checkpoint_is_read_too(write):
    folder, _ = write(MINMAX)
    whole = packed.read_codes(folder, UP, bits=4, rescaled=False)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {name: f"model-{place % 2}.safetensors" for place, name in enumerate(sorted(tensors))}
    for file in set(index.values()):
        shard = {name: tensors[name] for name in tensors if index[name] == file}
        save_file(shard, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    parts = packed.read_codes(folder, UP, bits=4, rescaled=False)
    assert torch.equal(parts.integers, whole.integers)
    assert torch.equal(parts.steps, whole.steps)
    assert len(packed.quantized_layers(folder)) == 14


def test_a_weight_that_is_not_finite_is_named(wide, tokenizer, tmp_path):
    model = load_model(wide, "fp32")
    block_linears(model)[UP].weight.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match=f"layer {UP}: 1 of .* weights .*NaN"):
        packed.write(model, tokenizer, RTN4, tmp_path)


def test_another_checkpoint_is_told_apart(wide):
    with pytest.raises(
        ValueError, match=rf"{wide} holds no .*weight_shape: .*no packed checkpoint"
    ):
        packed.read_codes(wide, UP, bits=4, rescaled=False)
