"""LLM.int8() against its definition in double precision, and against transformers' own loading."""

import copy
import logging
import re

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.logits import logit_error
from unlearn_lab.evaluate.metric import Continue, LogLikelihood
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.models.quantized import without_notices
from unlearn_lab.quantize.bnb import BNB8
from unlearn_lab.quantize.llmint8 import LLMInt8
from unlearn_lab.quantize.quantizer import CalibratedQuantizer, Quantizer

PAPER = LLMInt8(threshold=6.0)
NO_OUTLIERS = LLMInt8(threshold=1e4)
UP = "model.layers.1.mlp.up_proj"
SLACK = {torch.float32: 3e-5, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
"""Of the norm. bitsandbytes' 1/127**2 is off by 2e-5 on a CPU; the rest is the result's dtype."""
OUTLIERS = ((0, 1, 3, 40.0), (2, 4, 6, -7.5), (2, 0, 6, 6.0))


def activations(*outliers: tuple[int, int, int, float]) -> Tensor:
    """3 sequences of 5 rows with 8 features, all below 6 but for the outliers."""
    found = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(2)).clamp(-5, 5)
    for sequence, row, column, value in outliers:
        found[sequence, row, column] = value
    return found


def by_definition(layer: nn.Linear, inputs: Tensor, threshold: float) -> Tensor:
    """What a layer with a plain weight gives under LLM.int8(), in double precision."""
    weight = layer.weight.detach().half().double()
    weight_steps = weight.abs().amax(dim=1, keepdim=True) / 127
    weight_codes = (weight / weight_steps).round()
    rows = inputs.reshape(-1, inputs.shape[-1])
    half = rows.half().double()
    outliers = (half.abs() >= threshold) & (threshold > 0)
    columns = outliers.any(dim=0)
    steps = half.masked_fill(outliers, 0).abs().amax(dim=1, keepdim=True) / 127
    codes = (half / steps).round().masked_fill(columns, 0)
    rounded = (codes.long()[:, None] * weight_codes.long()).sum(dim=-1) * steps * weight_steps.T
    kept = rows.double()[:, columns] @ (weight_codes * weight_steps)[:, columns].T
    bias = 0 if layer.bias is None else layer.bias.detach().double()
    return (rounded + kept + bias).reshape(*inputs.shape[:-1], -1)


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def up_projection(model, quantizer: LLMInt8 | None, dtype=torch.float32, bias=True) -> nn.Linear:
    """A layer with 8 features, quantized within a copy of its model."""
    model = copy.deepcopy(model)
    layer = block_linears(model)[UP]
    if bias:
        layer.bias = nn.Parameter(torch.linspace(-0.05, 0.05, layer.out_features))
    nn.Module.to(model, dtype=dtype)
    if quantizer is not None:
        quantizer.quantize(model)
    return block_linears(model)[UP]


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", list(SLACK))
@pytest.mark.parametrize("outliers", [(), OUTLIERS])
@pytest.mark.parametrize("threshold", [6.0, 1e4, 0.0])
def test_a_layer_computes_what_the_definition_says(model, bias, dtype, outliers, threshold):
    inputs = activations(*outliers).to(dtype)
    plain = up_projection(model, None, dtype, bias)
    found = up_projection(model, LLMInt8(threshold=threshold), dtype, bias)(inputs)
    assert found.dtype == dtype
    assert found.shape == (3, 5, 12)
    assert distance(found, by_definition(plain, inputs, threshold)) < SLACK[dtype]


@torch.no_grad()
def test_the_definitions_parts_can_be_told_apart(model):
    """Rounded activations, the threshold and the bias each change more than the slack."""
    inputs = activations(*OUTLIERS)
    plain, found = up_projection(model, None), up_projection(model, PAPER)(inputs)
    weights_only, codes = up_projection(model, None), BNB8().codes(plain.weight)
    weights_only.weight.copy_(codes.integers * codes.steps)
    for other in (
        weights_only(inputs),
        by_definition(plain, inputs, 1e4),
        by_definition(plain, inputs, 7.0),
        by_definition(up_projection(model, None, bias=False), inputs, 6.0),
    ):
        assert distance(found, other) > 10 * SLACK[torch.float32]


@torch.no_grad()
def test_kept_outliers_leave_the_rest_of_their_row_its_precision(model):
    """Beside 40, a step is 40/127 for values of about 1, unless 40 stays out."""
    inputs = activations(*OUTLIERS)
    plain = up_projection(model, None)
    kept, rounded = (up_projection(model, each)(inputs)[0, 1] for each in (PAPER, NO_OUTLIERS))
    assert distance(kept, plain(inputs)[0, 1]) < distance(rounded, plain(inputs)[0, 1])
    codes = BNB8().codes(plain.weight)
    plain.weight.copy_(codes.integers * codes.steps)
    assert 3 * distance(kept, plain(inputs)[0, 1]) < distance(rounded, plain(inputs)[0, 1])


@torch.no_grad()
def test_a_batch_decides_together_which_columns_hold_outliers(model):
    inputs, alone = activations(*OUTLIERS), activations()
    layer = up_projection(model, PAPER)
    assert torch.equal(inputs[1], alone[1])
    assert distance(layer(inputs)[1], layer(alone)[1]) > 10 * SLACK[torch.float32]
    layer = up_projection(model, NO_OUTLIERS)
    assert distance(layer(inputs)[1], layer(alone)[1]) < 1e-6


@torch.no_grad()
def test_rows_of_zeros_and_values_that_float16_cannot_hold(model):
    """70,000 is infinite in float16, so an outlier, and kept in the dtype that it came in."""
    inputs = torch.zeros(1, 3, 8)
    inputs[0, 1, 2] = 70_000.0
    plain, found = (up_projection(model, each, bias=False) for each in (None, PAPER))
    assert not found(inputs)[0, [0, 2]].any()
    codes = BNB8().codes(plain.weight)
    column = (codes.integers * codes.steps)[:, 2]
    torch.testing.assert_close(found(inputs)[0, 1], 70_000 * column)


def test_it_is_a_quantizer_applied_on_load_with_the_codes_of_int8(model):
    assert isinstance(PAPER, Quantizer)
    assert not isinstance(PAPER, CalibratedQuantizer)
    weight = block_linears(model)[UP].weight
    ours, theirs = PAPER.codes(weight), BNB8().codes(weight)
    assert torch.equal(ours.integers, theirs.integers)
    assert torch.equal(ours.steps, theirs.steps)
    assert torch.equal(up_projection(model, PAPER).weight, ours.integers.to(torch.int8))


def test_weights_are_off_as_those_of_int8(model):
    """Neither loses more: in float32 what is held is codes times steps."""
    other = copy.deepcopy(model)
    untouched = {n: w.clone() for n, w in model.named_parameters() if n not in linears(model)}
    ours, theirs = PAPER.quantize(model), BNB8().quantize(other)
    assert ours.num_layers == len(ours.weight_error) == 14
    assert ours.weight_error == pytest.approx(dict(theirs.weight_error), rel=1e-5)
    assert len(untouched) == 6
    for name, weight in untouched.items():
        assert torch.equal(model.get_parameter(name), weight)


def linears(model) -> set[str]:
    return {f"{name}.weight" for name in block_linears(model)}


@torch.no_grad()
def test_a_model_is_the_one_that_transformers_loads_in_8_bits(wide, sequences):
    with without_notices():
        theirs = AutoModelForCausalLM.from_pretrained(
            wide, quantization_config=BitsAndBytesConfig(load_in_8bit=True), dtype=torch.float32
        )
    ours = load_model(wide, "fp32")
    PAPER.quantize(ours)
    logits = ours(sequences).logits
    assert torch.equal(logits, theirs(sequences).logits)
    NO_OUTLIERS.quantize(other := load_model(wide, "fp32"))
    assert not torch.equal(logits, other(sequences).logits)


@torch.no_grad()
def test_a_model_is_near_one_whose_weights_alone_are_rounded(wide, sequences):
    weights_only, ours, rounded = (load_model(wide, "fp32") for _ in range(3))
    BNB8().quantize(weights_only)
    PAPER.quantize(ours)
    NO_OUTLIERS.quantize(rounded)
    reference, *others = ([each(sequences).logits[0]] for each in (weights_only, ours, rounded))
    kept, lost = (logit_error(logits, reference) for logits in others)
    assert 0 < kept < 0.06
    assert lost > 2 * kept


@torch.no_grad()
def test_casting_to_compute_keeps_codes_scales_and_results(wide, sequences):
    """As the evaluate stage does: bfloat16 weights, quantized, then float32 activations."""
    late, early, used = (load_model(wide, "bf16") for _ in range(3))
    early = early.float()
    for each in (late, early, used):
        PAPER.quantize(each)
    layer = block_linears(late)[UP]
    codes, scales = layer.weight.CB.clone(), layer.weight.SCB.clone()
    used(sequences)  # the first pass hands codes and scales from the weight to the layer
    late, used = late.float(), used.float()
    assert late.dtype == torch.float32
    assert torch.equal(layer.weight.CB, codes)
    assert torch.equal(layer.weight.SCB, scales)
    first = late(sequences).logits
    for again in (late, early, used):
        assert torch.equal(again(sequences).logits, first)
    assert layer.weight.dtype == torch.int8
    assert torch.equal(layer.state.SCB, scales)


def test_answers_are_repeatable_and_no_pass_is_commented(wide, tokenizer, caplog, capfd):
    requests = [
        Continue(prompt="w3 w4 w5", num_tokens=6),
        Continue(prompt="w9", num_tokens=6),
        LogLikelihood(text="w3 w4 w5 w6 w7", num_tokens=5),
    ]
    found = []
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            model = load_model(wide, "bf16")
            PAPER.quantize(model)
            answers = answer(model.float(), tokenizer, requests, batch_tokens=64)
            found.append((answers.text(requests[0]), answers.text(requests[1])))
            found[-1] += (answers.log_probabilities(requests[2]).tolist(),)
    assert found[0] == found[1]
    assert "cast" not in caplog.text + "".join(capfd.readouterr())


def test_layers_evaluate_whatever_mode_the_model_is_in(model):
    """In training mode bitsandbytes leaves activations alone on a CPU."""
    assert model.training
    PAPER.quantize(model)
    assert not any(layer.training for layer in block_linears(model).values())


def test_the_report_names_what_ran(model):
    nn.Module.to(model, dtype=torch.bfloat16)
    report = PAPER.quantize(copy.deepcopy(model))
    assert report.library.startswith("bitsandbytes 0.")
    assert re.fullmatch(
        r"LLM\.int8\(\) on cpu: .*activations.* int8 row by row.* 6 .*unrounded",
        report.kernel,
    )
    assert (report.bits, report.group, report.symmetric, report.convention) == (
        *(8, "row", True, "absmax"),
    )
    assert LLMInt8(threshold=0.0).quantize(model).kernel.endswith("no outlier columns")


@pytest.mark.parametrize("value", ["nan", "inf", "1e6"])
def test_the_layer_is_named_when_it_cannot_be_rounded(model, value):
    block_linears(model)[UP].weight.data[0, 0] = float(value)
    with pytest.raises(ValueError, match=rf"layer {UP}: 1 of 96 weights are NaN .* in float16"):
        PAPER.quantize(model)


def test_other_devices_are_refused(model):
    with pytest.raises(ValueError, match=r"cpu and cuda, not on meta: .*runtime\.accelerator"):
        PAPER.quantize(model.to("meta"))


@pytest.mark.parametrize("threshold", [-1.0, float("inf"), float("nan")])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match=rf"^threshold={threshold}: .*0 .* above.*finite"):
        LLMInt8(threshold=threshold)


def test_the_extra_is_named_when_the_library_is_missing(model, without_libraries):
    with pytest.raises(ValueError, match=r"needs the library bitsandbytes, .* -e '\.\[bnb\]'"):
        PAPER.require_fit(model)
