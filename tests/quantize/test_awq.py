"""AWQ through llm-compressor: with scales of one it is RTN; its traps are refused or avoided."""

import re
from dataclasses import replace

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

from unlearn_lab.evaluate.logits import logit_error
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.awq import AWQ
from unlearn_lab.quantize.calibration import Calibration
from unlearn_lab.quantize.compressor import quietly
from unlearn_lab.quantize.formats import packed
from unlearn_lab.quantize.formats.packed import quantized_layers, read_codes
from unlearn_lab.quantize.quantizer import CalibratedQuantizer
from unlearn_lab.quantize.rtn import RTN

AWQ4 = AWQ(
    bits=4,
    group_size=128,
    symmetric=False,
    duo_scaling=True,
    num_grid=8,
    mappings=None,
    calibration=Calibration(source="retain", num_samples=12, length=32, seed=0, text=None),
)
SAME_GRID = RTN(bits=4, symmetric=False, granularity="group", group_size=128, convention="minmax")
OPT_MAPPINGS = (
    {
        "smooth_layer": "re:.*self_attn_layer_norm$",
        "balance_layers": ("re:.*q_proj$", "re:.*k_proj$", "re:.*v_proj$"),
    },
)


@pytest.fixture
def compress(compress_with):
    return lambda quantizer=AWQ4, **options: compress_with(quantizer, **options)


@pytest.fixture
def opt(tmp_path):
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=20,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
    )
    folder = tmp_path / "opt"
    OPTForCausalLM(config).save_pretrained(folder)
    return folder


def test_is_calibrated_and_rescales():
    assert isinstance(AWQ4, CalibratedQuantizer)
    assert AWQ4.rescales


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_every_block_linear_has_codes_and_embeddings_stay(compress, wide, weights):
    folder, report = compress(weights=weights)
    before, after = load_model(wide, weights), load_model(folder, weights)
    assert report.num_layers == len(quantized_layers(folder)) == len(block_linears(after)) == 14
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        assert torch.equal(before.state_dict()[name], after.state_dict()[name])
    for name in quantized_layers(folder):
        codes = read_codes(folder, name, bits=4, rescaled=True)
        assert codes.steps is None
        assert codes.integers.abs().max() <= 15


def test_with_scales_of_one_it_is_rounding_to_nearest(
    compress, wide, tokenizer, tmp_path, monkeypatch
):
    with quietly():
        from llmcompressor.modifiers.transform.awq import AWQModifier

    def ones(self, mapping, *_, **__):
        return torch.ones(mapping.balance_layers[0].in_features)

    monkeypatch.setattr(AWQModifier, "_compute_best_scale", ones)
    folder, _ = compress()
    other = tmp_path / "nearest"
    other.mkdir()
    packed.write(load_model(wide, "fp32"), tokenizer, SAME_GRID, other)
    for name in quantized_layers(folder):
        ours = read_codes(folder, name, bits=4, rescaled=False)
        nearest = read_codes(other, name, bits=4, rescaled=False)
        assert torch.equal(ours.integers, nearest.integers)
        torch.testing.assert_close(ours.steps, nearest.steps, rtol=1e-6, atol=0)


def test_it_moves_the_logits_less_than_rounding_to_nearest(compress, wide, sequences):
    folder, _ = compress()
    model = load_model(wide, "fp32")
    full = [model(row[None]).logits[0].detach() for row in sequences]
    errors = []
    for quantized in (load_model(folder, "fp32"), model):
        if quantized is model:
            SAME_GRID.quantize(model)
        errors.append(
            logit_error([quantized(row[None]).logits[0].detach() for row in sequences], full)
        )
    assert errors[0] < errors[1]


def test_two_runs_are_the_same_to_the_bit(compress):
    (first, _), (second, _) = compress(name="first"), compress(name="second")
    for file in ("model.safetensors", "config.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_the_report_names_what_ran(compress):
    """Two blocks of seven layers; behind shared heads, o cannot be scaled against v."""
    _, report = compress()
    assert report.library.startswith("llmcompressor 0.")
    assert re.fullmatch(r"AWQ .*12 x 32 tokens.*12 of 14 layers.*nearest", report.kernel)
    assert (report.bits, report.group, report.symmetric, report.convention) == (
        *(4, "128 inputs", False, "minmax"),
    )
    assert all(0 < error < 1 for error in report.weight_error.values())


@pytest.mark.parametrize(
    "model",
    [
        GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=20,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
            )
        ),
    ],
    ids=["pythia"],
)
def test_an_architecture_without_mappings_is_refused(model):
    """llm-compressor would take Llama's and scale nothing."""
    with pytest.raises(ValueError, match=r"mappings=null: .*no AWQ mappings.* GPTNeoXForCausalLM"):
        AWQ4.require_fit(model)


def test_mappings_can_be_given(opt, compress):
    given = replace(AWQ4, mappings=OPT_MAPPINGS)
    given.require_fit(load_model(opt, "fp32"))
    folder, report = compress(given, source=opt)
    assert "3 of 6 layers scaled" in report.kernel
    assert report.num_layers == len(quantized_layers(folder)) == 6


def test_mappings_that_fit_nothing_are_refused(compress):
    nowhere = ({"smooth_layer": "re:.*nowhere$", "balance_layers": ("re:.*neither$",)},)
    with pytest.raises(ValueError, match=r"mappings: none .*fits LlamaForCausalLM"):
        compress(replace(AWQ4, mappings=nowhere))


def test_malformed_mappings_are_refused():
    with pytest.raises(ValueError, match=r"mappings=\['smooth'\] at 0: .*smooth_layer, balance"):
        replace(AWQ4, mappings=({"smooth": "a"},))


@pytest.mark.parametrize(("field", "value"), [("bits", 1), ("group_size", 0), ("num_grid", 2)])
def test_refuses_values_that_name_no_method(field, value):
    with pytest.raises(ValueError, match=f"^{field}={value}: must be"):
        replace(AWQ4, **{field: value})


def test_the_missing_library_is_named_with_its_extra(model, without_libraries):
    with pytest.raises(ValueError, match=r"llmcompressor.* not installed.*\[gptq\]"):
        AWQ4.require_fit(model)
