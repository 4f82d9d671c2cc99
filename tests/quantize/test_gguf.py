"""GGUF's q4_0 and q8_0 against the gguf package's own bytes, by hand and on a model."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.gguf import GGUF, pack, tensor_type
from unlearn_lab.quantize.quantizer import CalibratedQuantizer, Quantizer

Q4, Q8 = GGUF(format="q4_0"), GGUF(format="q8_0")
UP = "model.layers.1.mlp.up_proj"

both = pytest.mark.parametrize("quantizer", [Q4, Q8])
# Subnormal float32 numbers and scales too small for float16 included; 2^18 / 8 still fits float16.
numbers = st.one_of(st.just(0.0), st.floats(-(2.0**18), 2.0**18, width=32))
blocks = st.one_of(st.just([0.0] * 32), st.lists(numbers, min_size=32, max_size=32))
weights = st.lists(blocks, min_size=1, max_size=4).map(torch.tensor)
quick = settings(max_examples=80)


@pytest.fixture
def wide() -> LlamaForCausalLM:
    """Input features 32 and 64."""
    return build(64)


def build(intermediate_size: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=intermediate_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def block(*values: float) -> Tensor:
    return torch.tensor([[*values, *[0.0] * (32 - len(values))]])


def through_the_package(weight: Tensor, format: str) -> Tensor:
    kind = gguf.GGMLQuantizationType[format.upper()]
    with np.errstate(all="ignore"):  # of 1 / d, for a d that float16 turns into zero
        packed = gguf.quants.quantize(weight.numpy(), kind)
        return torch.from_numpy(gguf.quants.dequantize(packed, kind)).reshape(weight.shape)


def test_is_a_quantizer_that_is_applied_on_load() -> None:
    for quantizer, bits in ((Q4, 4), (Q8, 8)):
        assert isinstance(quantizer, Quantizer)
        assert not isinstance(quantizer, CalibratedQuantizer)
        assert quantizer.bits == bits


@quick
@given(weights, st.sampled_from([Q4, Q8]), st.booleans())
def test_codes_times_steps_are_what_the_package_reads_from_its_own_bytes(
    weight: Tensor, quantizer: GGUF, long_rows: bool
) -> None:
    weight = weight.reshape(1, -1) if long_rows else weight
    codes = quantizer.codes(weight)
    assert codes.steps is not None
    assert torch.equal(codes.integers * codes.steps, through_the_package(weight, quantizer.format))
    assert (codes.steps >= 0).all()
    assert codes.integers.abs().max() <= (8 if quantizer is Q4 else 127)
    assert torch.equal(codes.steps.half().float(), codes.steps)


@quick
@given(weights, st.sampled_from([Q4, Q8]))
def test_rounding_twice_changes_no_code(weight: Tensor, quantizer: GGUF) -> None:
    once = quantizer.codes(weight)
    assert once.steps is not None
    again = quantizer.codes(once.integers * once.steps)
    assert again.steps is not None
    assert torch.equal(again.integers, once.integers)
    assert torch.equal(again.steps, once.steps)


def test_q4_0_by_hand() -> None:
    """The largest is -8, so the step is -8 / -8 = 1 and the levels are -8 .. 7.

    7.9 falls to 7; codes are the whole part of w + 8.5, so the ties 0.5 and -0.5 go up, to 1 and 0.
    """
    codes = Q4.codes(block(-8.0, 7.4, 7.9, 0.5, -0.5, 0.49, 2.2))
    assert codes.integers[0, :8].tolist() == [-8, 7, 7, 1, 0, 0, 2, 0]
    assert codes.steps is not None
    assert codes.steps.unique().tolist() == [1.0]


def test_q4_0_keeps_a_largest_weight_above_zero_and_the_steps_positive() -> None:
    """The largest is +4: the file's step is -1/2 with levels 4 .. -3.5, counted here as 8 .. -7."""
    codes = Q4.codes(block(4.0, -4.0, 1.1))
    assert codes.integers[0, :4].tolist() == [8, -7, 2, 0]
    assert codes.steps is not None
    assert codes.steps.unique().tolist() == [0.5]


def test_q8_0_by_hand() -> None:
    """The largest is 127: step 1; ties go away from zero."""
    codes = Q8.codes(block(-127.0, 126.4, 0.5, -0.5, 2.5, 1.4))
    assert codes.integers[0, :7].tolist() == [-127, 126, 1, -1, 3, 1, 0]
    assert codes.steps is not None
    assert codes.steps.unique().tolist() == [1.0]


def test_the_step_is_a_float16_number() -> None:
    """1/127 in float16 is 129 * 2^-14: 0.007873535 instead of 0.007874016."""
    codes = Q8.codes(block(1.0))
    assert codes.steps is not None
    assert codes.steps.unique().tolist() == [129 * 2.0**-14]


def test_halves_of_a_block_are_not_mixed_up() -> None:
    """The file keeps weight 3 and weight 19 of a block in one byte."""
    codes = Q4.codes(block(*[0.0] * 3, -8.0, *[0.0] * 15, 5.0))
    assert codes.integers[0].nonzero().flatten().tolist() == [3, 19]
    assert codes.integers[0, [3, 19]].tolist() == [-8, 5]


@both
def test_the_packed_bytes_are_the_size_that_llama_cpp_reads(quantizer: GGUF) -> None:
    """Two bytes of scale, then 32 codes of 4 or 8 bits."""
    packed = pack(np.ones((3, 64), np.float32), quantizer.format)
    assert packed.dtype == np.uint8
    assert packed.shape == (3, 2 * (2 + 32 * quantizer.bits // 8))
    assert tensor_type(quantizer.format).name == quantizer.format.upper()


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounds_the_block_linears_and_makes_the_model_float32(
    wide: LlamaForCausalLM, quantizer: GGUF, dtype: torch.dtype
) -> None:
    torch.nn.Module.to(wide, dtype=dtype)
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    report = quantizer.quantize(wide)
    layers = block_linears(wide)
    assert report.num_layers == len(report.weight_error) == len(layers) == 14
    for name, after in wide.state_dict().items():
        assert after.dtype == torch.float32
        layer = name.removesuffix(".weight")
        if layer not in layers:
            assert torch.equal(after, before[name].float())
            continue
        expected = through_the_package(before[name].float(), quantizer.format)
        assert torch.equal(after, expected)
        error = (after - before[name].float()).norm() / before[name].float().norm()
        assert report.weight_error[layer] == pytest.approx(error.item(), rel=1e-4)
        assert 0 < error < (0.2 if quantizer is Q4 else 0.02)


@both
def test_quantizing_a_model_twice_changes_nothing(wide: LlamaForCausalLM, quantizer: GGUF) -> None:
    quantizer.quantize(wide)
    once = {name: value.clone() for name, value in wide.state_dict().items()}
    report = quantizer.quantize(wide)
    assert set(report.weight_error.values()) == {0.0}
    assert all(torch.equal(value, once[name]) for name, value in wide.state_dict().items())


def test_the_report_names_what_ran(wide: LlamaForCausalLM) -> None:
    report = Q4.quantize(wide)
    assert report.library == f"gguf {version('gguf')}"
    assert report.kernel == "GGUF q4_0 rounding, dequantized to float32"
    assert (report.bits, report.group, report.symmetric, report.convention) == (
        *(4, "32 inputs", False, "largest / -8"),
    )
    report = Q8.quantize(wide)
    assert (report.bits, report.symmetric, report.convention) == (8, True, "absmax")


@both
def test_the_layer_with_a_weight_that_is_not_finite_is_named(
    wide: LlamaForCausalLM, quantizer: GGUF
) -> None:
    block_linears(wide)[UP].weight.data[0, :2] = torch.tensor([torch.nan, -torch.inf])
    with pytest.raises(ValueError, match=rf"layer {UP}: 2 of 2048 weights .*NaN"):
        quantizer.quantize(wide)


@pytest.mark.parametrize(
    ("quantizer", "fits", "overflows"), [(Q4, 8 * 65504, -1e6), (Q8, 1e6, 1e7)]
)
def test_the_layer_whose_scale_overflows_float16_is_named(
    wide: LlamaForCausalLM, quantizer: GGUF, fits: float, overflows: float
) -> None:
    """float16 ends at 65504; the scale is a weight over 8, or over 127."""
    block_linears(wide)[UP].weight.data[0, 0] = fits
    quantizer.quantize(wide)
    block_linears(wide)[UP].weight.data[0, 0] = overflows
    with pytest.raises(ValueError, match=rf"layer {UP}: .*scale .*not fit float16"):
        quantizer.quantize(wide)


def test_row_lengths_are_compared_with_the_block_beforehand(model: LlamaForCausalLM) -> None:
    Q4.require_fit(build(64))
    with pytest.raises(
        ValueError,
        match=r"format=q4_0: layer model.layers.0.self_attn.q_proj.* 8 input features"
        r".* multiple of 32; .*quant=rtn4",
    ):
        Q4.require_fit(model)
    with pytest.raises(ValueError, match=r"layer .*0.mlp.down_proj has 48 .* choose quant=rtn8"):
        Q8.require_fit(build(48))


@both
def test_the_extra_is_named_when_the_library_is_missing(
    wide: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, quantizer: GGUF
) -> None:
    def missing(library: str) -> str:
        raise PackageNotFoundError(library)

    monkeypatch.setattr("unlearn_lab.config.libraries.version", missing)
    with pytest.raises(ValueError, match=r"needs the library gguf, .* -e '\.\[gguf\]'"):
        quantizer.require_fit(wide)


@pytest.mark.parametrize("format", ["q4_k", "Q4_0", ""])
def test_another_format_is_refused(format: str) -> None:
    with pytest.raises(ValueError, match=rf"format='{format}': .*one of q4_0, q8_0"):
        replace(Q4, format=format)
