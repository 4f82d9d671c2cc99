"""RTN on a model: what it changes, what it reports and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.quantizer import CalibratedQuantizer, Quantizer
from unlearn_lab.quantize.rtn import RTN

RTN4 = RTN(bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax")
ASYMMETRIC = replace(RTN4, symmetric=False, convention="minmax")
UP = "model.layers.1.mlp.up_proj"
GROUPED = replace(RTN4, granularity="group", group_size=4)


def test_is_a_quantizer_that_is_applied_on_load() -> None:
    assert isinstance(RTN4, Quantizer)
    assert not isinstance(RTN4, CalibratedQuantizer)
    assert RTN4.bits == 4


@pytest.mark.parametrize(
    "quantizer", [RTN4, ASYMMETRIC, GROUPED, replace(RTN4, granularity="tensor")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounds_the_block_linears_and_nothing_else(
    model: LlamaForCausalLM, quantizer: RTN, dtype: torch.dtype
) -> None:
    torch.nn.Module.to(model, dtype=dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = quantizer.quantize(model)
    layers = block_linears(model)
    assert report.num_layers == len(report.weight_error) == len(layers) == 14
    for name, after in model.state_dict().items():
        assert after.dtype == dtype
        if name.removesuffix(".weight") not in layers:
            assert torch.equal(after, before[name])
            continue
        codes = quantizer.codes(before[name])
        assert torch.equal(after, (codes.integers * codes.steps).to(dtype))
        difference = (after.double() - before[name].double()).norm() / before[name].double().norm()
        assert report.weight_error[name.removesuffix(".weight")] == pytest.approx(
            difference.item(), rel=1e-4
        )


def test_each_row_has_at_most_fifteen_levels(model: LlamaForCausalLM) -> None:
    RTN4.quantize(model)
    for layer in block_linears(model).values():
        assert all(len(row.unique()) <= 15 for row in layer.weight)


def test_the_report_names_what_ran(model: LlamaForCausalLM) -> None:
    report = RTN4.quantize(model)
    assert report.library.startswith("torch 2.")
    assert report.kernel == "round to nearest in float32"
    assert (report.bits, report.group, report.symmetric, report.convention) == (
        *(4, "row", True, "absmax"),
    )
    assert GROUPED.quantize(model).group == "4 inputs"
    assert ASYMMETRIC.quantize(model).symmetric is False


def test_codes_carry_no_gradient(model: LlamaForCausalLM) -> None:
    assert not RTN4.codes(block_linears(model)[UP].weight).steps.requires_grad


def test_the_layer_is_named_when_it_cannot_be_rounded(model: LlamaForCausalLM) -> None:
    block_linears(model)[UP].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"layer model.layers.1.mlp.up_proj: 1 of 96 weights"):
        RTN4.quantize(model)


def test_the_layer_is_named_when_the_group_does_not_fit(model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match=r"layer model.layers.0.self_attn.q_proj: group_size=3 "):
        replace(GROUPED, group_size=3).quantize(model)


def test_group_sizes_are_compared_with_every_layer_beforehand(model: LlamaForCausalLM) -> None:
    """Input features are 8, and 12 in the down projection: 4 divides both, 8 and 3 do not."""
    for quantizer in (RTN4, GROUPED):
        quantizer.require_fit(model)
    with pytest.raises(ValueError, match=r"group_size=8: layer .*0.mlp.down_proj has 12 input"):
        replace(GROUPED, group_size=8).require_fit(model)
    with pytest.raises(ValueError, match=r"group_size=3: layer .*0.self_attn.q_proj has 8 input"):
        replace(GROUPED, group_size=3).require_fit(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 1}, "bits=1: .*whole number.* 2 .*8"),
        ({"bits": 9}, "bits=9: must be"),
        ({"granularity": "column"}, "granularity='column': .*one of tensor, row, group"),
        ({"convention": "minmax"}, "convention='minmax' with symmetric=True: .*absmax, paper"),
        ({"symmetric": False}, "convention='absmax' with symmetric=False: .*one of minmax"),
        ({"group_size": 4}, "group_size=4 with granularity=row: must be null"),
        ({"granularity": "group"}, "group_size=None with granularity=group: .*whole number"),
        ({"granularity": "group", "group_size": 0}, "group_size=0 with granularity=group"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RTN4, **changes)
