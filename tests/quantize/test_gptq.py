"""GPTQ through llm-compressor: against RTN on the same grid, and its silent fallbacks refused."""

import os
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize import compressor
from unlearn_lab.quantize.calibration import Calibration
from unlearn_lab.quantize.compressor import config_groups, quietly
from unlearn_lab.quantize.formats.packed import quantized_layers, read_codes
from unlearn_lab.quantize.gptq import GPTQ
from unlearn_lab.quantize.grid import decode
from unlearn_lab.quantize.quantizer import CalibratedQuantizer, Quantizer
from unlearn_lab.quantize.rtn import RTN

GPTQ4 = GPTQ(
    bits=4,
    group_size=128,
    symmetric=True,
    act_order=True,
    dampening=0.01,
    block_size=128,
    calibration=Calibration(source="retain", num_samples=12, length=32, seed=0, text=None),
)
SAME_GRID = RTN(
    bits=4, symmetric=True, granularity="group", group_size=128, convention="full_range"
)


@pytest.fixture
def compress(compress_with):
    return lambda quantizer=GPTQ4, **options: compress_with(quantizer, **options)


def inputs_of_layers(model, sequences):
    """What each block linear of the full-precision model sees of the calibration text."""
    seen = {}
    layers = block_linears(model)
    hooks = [
        layer.register_forward_hook(
            lambda _, args, __, name=name: seen.update({name: args[0].flatten(0, 1)})
        )
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        model(sequences)
    for hook in hooks:
        hook.remove()
    return seen


def test_is_calibrated_and_not_applied_on_load():
    assert isinstance(GPTQ4, CalibratedQuantizer)
    assert not isinstance(GPTQ4, Quantizer)
    assert not GPTQ4.rescales


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_the_checkpoint_holds_codes_for_every_block_linear_and_nothing_else(
    compress, wide, weights
):
    folder, report = compress(weights=weights)
    before, after = load_model(wide, weights), load_model(folder, weights)
    layers = block_linears(after)
    assert report.num_layers == len(layers) == len(quantized_layers(folder)) == 14
    for name, parameter in before.named_parameters():
        kept = dict(after.named_parameters())[name]
        assert kept.dtype == parameter.dtype
        assert torch.equal(kept, parameter) == (name.removesuffix(".weight") not in layers)
    for name, layer in layers.items():
        codes = read_codes(folder, name, bits=4, rescaled=False)
        assert codes.integers.min() >= -8
        assert codes.integers.max() <= 7
        assert torch.equal(decode(codes, layer.weight.dtype), layer.weight)


def test_transformers_loads_it_without_any_option(compress, sequences):
    folder, _ = compress()
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(plain(sequences).logits, load_model(folder, "fp32")(sequences).logits)


def test_two_runs_are_the_same_to_the_bit(compress):
    (first, _), (second, _) = compress(name="first"), compress(name="second")
    for file in ("model.safetensors", "config.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_outputs_on_the_calibration_text_err_less_than_rounding_to_nearest(
    compress, wide, sequences
):
    """By layer, ||X (Q(W) - W)^T|| with X of the full-precision model, RTN on the same grid."""
    folder, report = compress()
    model = load_model(wide, "fp32")
    rounded = block_linears(load_model(folder, "fp32"))
    for name, activations in inputs_of_layers(model, sequences).items():
        weight = block_linears(model)[name].weight.detach()
        nearest = decode(SAME_GRID.codes(weight), weight.dtype)
        ours, theirs = (
            float((activations @ (other - weight).T).norm())
            for other in (rounded[name].weight.detach(), nearest)
        )
        assert ours < theirs, name
        assert report.weight_error[name] > float((nearest - weight).norm() / weight.norm())


def test_with_a_diagonal_hessian_it_is_rounding_to_nearest():
    """Then no column can make up for another's error."""
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(0))
    codes = SAME_GRID.codes(weight)
    with quietly():
        from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

        layers = {"layer": torch.nn.Linear(128, 8)}
        scheme = config_groups(layers, GPTQ4)["groups"]
        rounded, _, fallen = quantize_weight(
            weights=weight[None].clone(),
            hessians=torch.diag(torch.rand(128) + 0.5)[None],
            scale=codes.steps[None, :, :1],
            zero_point=torch.zeros(1, 8, 1, dtype=torch.int8),
            global_scale=None,
            quant_args=scheme.weights,
            blocksize=128,
            percdamp=0.01,
        )
    assert not fallen.any()
    torch.testing.assert_close(rounded[0], decode(codes, torch.float32), rtol=0, atol=1e-6)


def test_the_report_names_what_ran(compress):
    _, report = compress(replace(GPTQ4, group_size=None, symmetric=False))
    assert report.library.startswith("llmcompressor 0.")
    assert report.kernel == "GPTQ, Hessian of 12 x 32 tokens"
    assert (report.bits, report.group, report.symmetric, report.convention) == (
        *(4, "row", False, "minmax"),
    )
    assert len(report.weight_error) == 14
    assert all(0 < error < 1 for error in report.weight_error.values())


@pytest.mark.slow
def test_eight_bits_err_less_than_four(compress):
    _, four = compress(name="four")
    _, eight = compress(replace(GPTQ4, bits=8), name="eight")
    for name, error in four.weight_error.items():
        assert eight.weight_error[name] < error / 8


def test_a_row_shorter_than_the_group_is_a_group_of_its_own(compress, model, tmp_path):
    """llm-compressor itself fails on such rows; input features are 8, and 12 behind the MLP."""
    model.save_pretrained(tmp_path / "small")
    folder, report = compress(
        replace(GPTQ4, group_size=12), source=tmp_path / "small", text=torch.arange(16)[None]
    )
    assert report.group == "12 inputs, or a shorter row"
    steps = {
        name: len(read_codes(folder, name, bits=4, rescaled=False).steps[0].unique())
        for name in quantized_layers(folder)
    }
    assert set(steps.values()) == {1}


def test_groups_must_divide_longer_rows(wide):
    with pytest.raises(ValueError, match=r"group_size=100: layer model.layers.0.self_attn.q_proj"):
        replace(GPTQ4, group_size=100).require_fit(load_model(wide, "fp32"))
    GPTQ4.require_fit(load_model(wide, "fp32"))


def test_a_hessian_that_cannot_be_inverted_is_refused(compress):
    """One token over and over: rank one, and no dampening to speak of."""
    with pytest.raises(ValueError, match=r"Hessian cannot be inverted.*raise quant.dampening"):
        compress(replace(GPTQ4, dampening=1e-30), text=torch.full((4, 32), 3))


def test_weights_that_are_not_finite_are_refused(compress, wide, tmp_path):
    broken = load_model(wide, "fp32")
    block_linears(broken)["model.layers.1.mlp.up_proj"].weight.data[0, 0] = torch.nan
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(ValueError, match=r"not finite|cannot be inverted"):
        compress(source=tmp_path / "broken")


def test_layers_that_llm_compressor_would_pass_over_are_refused():
    """GPT-2's Conv1D layers: it would quantize none of them and not say so."""
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=16))
    with pytest.raises(ValueError, match=r"no torch\.nn\.Linear inside its transformer blocks"):
        GPTQ4.require_fit(model)


def test_a_name_that_is_no_folder_is_no_obstacle(wide, tokenizer, sequences, tmp_path):
    """llm-compressor reads the config by the name that the model was loaded with."""
    model = load_model(wide, "fp32")
    model.config.name_or_path = "someone/model-on-the-hub"
    GPTQ4.compress(model, tokenizer, sequences, tmp_path, torch.device("cpu"))
    assert model.config.name_or_path == "someone/model-on-the-hub"


def test_nothing_is_printed(wide, tokenizer, sequences, tmp_path, capfd):
    model = load_model(wide, "fp32")
    capfd.readouterr()
    GPTQ4.compress(model, tokenizer, sequences, tmp_path, torch.device("cpu"))
    assert capfd.readouterr() == ("", "")


def test_the_missing_library_is_named_with_its_extra(model, without_libraries):
    with pytest.raises(ValueError, match=r"llmcompressor.* not installed.*\[gptq\]"):
        GPTQ4.require_fit(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [("bits", 1), ("bits", 9), ("group_size", 0), ("dampening", 0.0), ("block_size", 0)],
)
def test_refuses_values_that_name_no_method(field, value):
    with pytest.raises(ValueError, match=f"^{field}={value}: must be"):
        replace(GPTQ4, **{field: value})


def test_the_library_is_left_as_it_was(compress, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    with quietly():
        from llmcompressor.core import active_session
        from llmcompressor.pipelines.cache import IntermediatesCache
    pin = IntermediatesCache.pin_memory
    compress()
    assert IntermediatesCache.pin_memory is pin
    assert active_session().state.model is None
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def test_norms_of_gemmas_kind_keep_their_bits(tokenizer, sequences, tmp_path):
    """llm-compressor rewrites them as 1 + w and back, which rounds them in bfloat16."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=20,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    model = Gemma2ForCausalLM(config).to(torch.bfloat16)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data.normal_(0, 0.1)
    model.save_pretrained(tmp_path / "gemma")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    (tmp_path / "out").mkdir()
    GPTQ4.compress(model, tokenizer, sequences, tmp_path / "out", torch.device("cpu"))
    after = dict(load_model(tmp_path / "out", "bf16").named_parameters())
    for name, weight in before.items():
        assert torch.equal(after[name], weight) == ("_proj" not in name), name


def test_the_library_works_on_the_device_that_was_asked_for():
    """Left to itself it takes any accelerator there is."""
    with quietly():
        from llmcompressor.pipelines.sequential import pipeline
    theirs = pipeline.get_main_device
    with compressor._on(torch.device("meta")):
        assert pipeline.get_main_device() == torch.device("meta")
    assert pipeline.get_main_device is theirs
