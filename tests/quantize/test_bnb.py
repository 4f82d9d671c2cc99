"""bitsandbytes' formats against their published tables and a plain nearest-level rounding."""

import copy
import functools
import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.bnb import BNB4, BNB8
from unlearn_lab.quantize.quantizer import CalibratedQuantizer, Quantizer

FP4 = BNB4(table="fp4", block_size=64)
NF4 = BNB4(table="nf4", block_size=64)
INT8 = BNB8()
ALL = (FP4, NF4, INT8)
UP = "model.layers.1.mlp.up_proj"

# The eight values of bitsandbytes' create_fp4 map, in the order of their bit patterns.
FP4_HALF = (0.0, 0.0052083333, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25)
# Appendix E of QLoRA (arXiv 2305.14314).
NF4_TABLE = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
LEVELS = {
    "fp4": torch.tensor(sorted({sign * value for value in FP4_HALF for sign in (1, -1)})),
    "nf4": torch.tensor(NF4_TABLE),
}
SLACK = {torch.float32: 1e-6, torch.bfloat16: 2.0**-8}  # of the largest weight of a block

numbers = st.one_of(
    st.just(0.0), st.floats(2**-20, 2**12, width=32), st.floats(-(2**12), -(2**-20), width=32)
)
rows_of_six = st.lists(st.lists(numbers, min_size=6, max_size=6), min_size=1, max_size=4)
quick = settings(max_examples=25)


def rounded(quantizer: BNB4 | BNB8, weight: Tensor) -> Tensor:
    """The weight that a model ends up with."""
    model = one_block(weight.shape[1], weight.dtype)
    layer = block_linears(model)["model.layers.0.mlp.down_proj"]
    layer.weight.data.copy_(weight)
    quantizer.quantize(model)
    return layer.weight.detach().clone()


@functools.cache
def one_block(intermediate_size: int, dtype: torch.dtype) -> LlamaForCausalLM:
    """Its down projection has 8 rows of `intermediate_size`; the other weights do not matter."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4,
        hidden_size=8,
        intermediate_size=intermediate_size,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    return LlamaForCausalLM(config).to(dtype)


def require_nearest(result: Tensor, weight: Tensor, table: str, block_size: int) -> None:
    """Each result is a level times its block's largest weight, and no level lies nearer."""
    for new, old in zip(
        result.flatten().split(block_size), weight.flatten().split(block_size), strict=True
    ):
        candidates = LEVELS[table] * old.abs().max().float()
        slack = SLACK[weight.dtype] * old.abs().max().float()
        distances = (old.float()[:, None] - candidates).abs().amin(dim=1)
        assert ((new.float()[:, None] - candidates).abs().amin(dim=1) <= slack).all()
        assert ((new.float() - old.float()).abs() <= distances + slack).all()


def test_they_are_quantizers_that_are_applied_on_load() -> None:
    for quantizer, bits in zip(ALL, (4, 4, 8), strict=True):
        assert isinstance(quantizer, Quantizer)
        assert not isinstance(quantizer, CalibratedQuantizer)
        assert quantizer.bits == bits


@pytest.mark.parametrize("table", ["fp4", "nf4"])
def test_the_levels_are_the_published_ones(table: str) -> None:
    """4096 weights from -1 to 1 are one block with largest weight 1, and come near every level."""
    weight = torch.linspace(-1, 1, 4096).reshape(8, 512)
    levels = rounded(BNB4(table=table, block_size=4096), weight).unique()
    torch.testing.assert_close(levels, LEVELS[table], rtol=1e-6, atol=1e-9)


def test_nf4_by_hand() -> None:
    """Largest weight 2. 0.16/2 -> 0.07958, -1.4/2 -> -0.69619, and 0.078/2 is still nearer to 0."""
    weight = torch.zeros(8, 8)
    weight[0, :4] = torch.tensor([2.0, 0.16, -1.4, 0.078])
    result = rounded(NF4, weight)
    assert result[0, :4].tolist() == pytest.approx([2.0, 0.15916060, -1.3923856, 0.0])
    assert NF4.codes(weight).integers[0, :4].tolist() == [8, 1, -6, 0]
    assert not result[1:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block_size", [64, 128])
@pytest.mark.parametrize("table", ["fp4", "nf4"])
def test_scales_belong_to_blocks_where_rows_do_not_fill_them(
    table: str, block_size: int, dtype: torch.dtype
) -> None:
    """8 rows of 96 are 12 blocks of 64, each twice as large as the one before it.

    Given the matrix itself, bitsandbytes' CPU kernel scales by the block that would stand there if
    each row began a block of its own; the wrong scale is off by at least a factor of two.
    """
    weight = torch.randn(768, generator=torch.Generator().manual_seed(0))
    weight = (weight * 2.0 ** (torch.arange(768) // 64)).reshape(8, 96).to(dtype)
    result = rounded(BNB4(table=table, block_size=block_size), weight)
    assert result.dtype == dtype
    require_nearest(result, weight, table, block_size)


@quick
@given(rows_of_six, st.sampled_from(["fp4", "nf4"]), st.sampled_from(list(SLACK)))
def test_each_weight_becomes_the_nearest_level(
    rows: list[list[float]], table: str, dtype: torch.dtype
) -> None:
    weight = torch.tensor(rows).repeat(8 // len(rows) + 1, 4)[:8].to(dtype)
    require_nearest(rounded(BNB4(table=table, block_size=64), weight), weight, table, 64)


@pytest.mark.parametrize("quantizer", [FP4, NF4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_twice_changes_nothing(quantizer: BNB4, dtype: torch.dtype) -> None:
    weight = torch.randn(8, 96, generator=torch.Generator().manual_seed(1)).to(dtype)
    once = rounded(quantizer, weight)
    assert torch.equal(rounded(quantizer, once), once)
    assert torch.equal(quantizer.codes(once).integers, quantizer.codes(weight).integers)


@pytest.mark.parametrize(("quantizer", "highest"), [(FP4, 7), (NF4, 8)])
def test_codes_are_ranks_counted_from_the_level_zero(quantizer: BNB4, highest: int) -> None:
    levels = LEVELS[quantizer.table]
    codes = quantizer.codes(levels[None])
    assert codes.integers[0].tolist() == list(range(-7, highest + 1))
    assert codes.steps is None


def test_codes_lie_where_their_weights_lie() -> None:
    """Two weights that are not zero, both in rows that begin in the middle of a block or byte."""
    weight = torch.zeros(8, 96)
    weight[2, 5], weight[6, 53] = 1.0, -1.0
    codes = NF4.codes(weight).integers
    assert codes.nonzero().tolist() == [[2, 5], [6, 53]]
    assert (codes[2, 5], codes[6, 53]) == (8, -7)


def test_both_zeros_of_fp4_are_code_zero() -> None:
    """Half-way to the level 1/192 = 0.0052 lies 0.0026: 0.002 becomes 0, and -0.002 becomes -0."""
    weight = torch.tensor([[1.0, 0.002, -0.002, 0.0, -0.0, 0.003, -0.003]])  # an odd number too
    packed, _ = FP4._pack(weight)
    assert 8 in {half for byte in packed.flatten().tolist() for half in (byte >> 4, byte & 15)}
    assert FP4.codes(weight).integers[0].tolist() == [7, 0, 0, 0, 0, 1, -1]


def test_int8_by_hand() -> None:
    """Row 1: step 1. Row 2: step 0.5/127, so -0.25 is -63.5, a tie that goes to the even -64."""
    codes = INT8.codes(torch.tensor([[127.0, -127.0, 1.4, 0.6], [0.5, -0.25, 0.0, 0.125]]))
    assert codes.integers.tolist() == [[127, -127, 1, 1], [127, -64, 0, 32]]
    assert codes.steps is not None
    assert codes.steps[:, 0].tolist() == pytest.approx([1.0, 0.5 / 127])


def test_int8_weights_pass_through_float16() -> None:
    """float16 has no 2049: the step is 2048/127."""
    assert rounded(INT8, torch.full((8, 4), 2049.0)).unique().tolist() == [2048.0]


@quick
@given(rows_of_six, st.sampled_from(list(SLACK)))
def test_int8_codes_times_steps_are_the_weights_to_half_a_step(
    rows: list[list[float]], dtype: torch.dtype
) -> None:
    weight = torch.tensor(rows).to(dtype)
    half = weight.half().float()
    codes = INT8.codes(weight)
    assert codes.steps is not None
    torch.testing.assert_close(codes.steps[:, :1], half.abs().amax(dim=1, keepdim=True) / 127)
    assert torch.equal(codes.steps, codes.steps[:, :1].expand(weight.shape))
    assert codes.integers.abs().max() <= 127
    assert ((codes.integers * codes.steps - half).abs() <= codes.steps * 0.5001).all()


@pytest.mark.parametrize("quantizer", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounds_the_block_linears_and_nothing_else(
    model: LlamaForCausalLM, quantizer: BNB4 | BNB8, dtype: torch.dtype
) -> None:
    torch.nn.Module.to(model, dtype=dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = quantizer.quantize(model)
    layers = block_linears(model)
    assert report.num_layers == len(report.weight_error) == len(layers) == 14
    for name, after in model.state_dict().items():
        assert after.dtype == dtype
        layer = name.removesuffix(".weight")
        if layer not in layers:
            assert torch.equal(after, before[name])
            continue
        error = (after.double() - before[name].double()).norm() / before[name].double().norm()
        assert report.weight_error[layer] == pytest.approx(error.item(), rel=1e-4)
        assert 0 < error < (0.2 if quantizer.bits == 4 else 0.02)
        codes = quantizer.codes(before[name])
        if codes.steps is not None:
            assert torch.equal(after, (codes.integers * codes.steps).to(dtype))


@pytest.mark.parametrize("quantizer", ALL)
def test_the_layers_stay_torchs_and_every_pass_gives_the_same(
    model: LlamaForCausalLM, quantizer: BNB4 | BNB8
) -> None:
    """bitsandbytes' own 4-bit layer repacks its weight in the first pass on a CPU."""
    again = copy.deepcopy(model)
    quantizer.quantize(model)
    quantizer.quantize(again)
    assert {type(layer) for layer in block_linears(model).values()} == {torch.nn.Linear}
    ids = torch.arange(12).reshape(2, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        first, second, other = model(ids).logits, model(ids).logits, again(ids).logits
    assert torch.equal(first, second)
    assert torch.equal(first, other)
    for state in (model.state_dict(), again.state_dict()):
        assert all(torch.equal(value, before[name]) for name, value in state.items())


@pytest.mark.parametrize("quantizer", ALL)
def test_a_weight_of_zeros_stays_zero(quantizer: BNB4 | BNB8) -> None:
    assert not rounded(quantizer, torch.zeros(8, 12)).any()
    assert not quantizer.codes(torch.zeros(8, 12)).integers.any()


def test_the_report_names_what_ran(model: LlamaForCausalLM) -> None:
    report = FP4.quantize(model)
    assert report.library.startswith("bitsandbytes 0.")
    assert re.fullmatch("fp4 rounding, dequantized .*dtype", report.kernel)
    assert (report.bits, report.group, report.symmetric, report.convention) == (
        *(4, "64 weights, flattened", True, "fp4 table x absmax"),
    )
    assert NF4.quantize(model).symmetric is False
    report = INT8.quantize(model)
    assert (report.bits, report.group, report.symmetric, report.convention) == (
        *(8, "row", True, "absmax"),
    )


@pytest.mark.parametrize(
    ("quantizer", "value", "dtype"),
    [
        *((quantizer, value, "float32") for quantizer in (FP4, NF4) for value in ("nan", "-inf")),
        *((INT8, value, "float16") for value in ("nan", "inf", "1e6")),
    ],
)
def test_the_layer_is_named_when_it_cannot_be_rounded(
    model: LlamaForCausalLM, quantizer: BNB4 | BNB8, value: str, dtype: str
) -> None:
    block_linears(model)[UP].weight.data[0, 0] = float(value)
    with pytest.raises(ValueError, match=rf"layer {UP}: 1 of 96 weights are NaN .* in {dtype}"):
        quantizer.quantize(model)


@pytest.mark.parametrize("quantizer", ALL)
def test_the_extra_is_named_when_the_library_is_missing(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, quantizer: BNB4 | BNB8
) -> None:
    quantizer.require_fit(model)

    def missing(library: str) -> str:
        raise PackageNotFoundError(library)

    monkeypatch.setattr("unlearn_lab.config.libraries.version", missing)
    with pytest.raises(ValueError, match=r"needs the library bitsandbytes, .* -e '\.\[bnb\]'"):
        quantizer.require_fit(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "int4"}, "table='int4': .*one of fp4, nf4"),
        ({"block_size": 32}, "block_size=32: .*one of 64, 128, 256, 512, 1024, 2048, 4096"),
        ({"block_size": 100}, "block_size=100: must be"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(NF4, **changes)
