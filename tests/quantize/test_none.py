"""The controls: nothing at all, and a plain cast to bfloat16."""

import pytest
import torch
from transformers import LlamaForCausalLM

from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.none import BF16Cast, NoQuantizer
from unlearn_lab.quantize.quantizer import Quantizer


def test_no_quantizer_touches_nothing(model: LlamaForCausalLM) -> None:
    quantizer: Quantizer = NoQuantizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = quantizer.quantize(model)
    assert (report.kernel, report.num_layers, report.weight_error) == ("none", 0, {})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert quantizer.bits is None
    assert quantizer.codes(torch.ones(1, 1)) is None
    quantizer.require_fit(model)


def test_the_cast_reaches_every_parameter_and_no_buffer(model: LlamaForCausalLM) -> None:
    quantizer: Quantizer = BF16Cast()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = quantizer.quantize(model)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, before[name].to(torch.bfloat16))
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model(torch.tensor([[1, 2]])).logits.dtype == torch.bfloat16
    assert report.num_layers == len(report.weight_error) == len(block_linears(model))
    assert all(0 < error < 2**-8 for error in report.weight_error.values())
    assert (quantizer.bits, quantizer.codes(torch.ones(1, 1))) == (16, None)


def test_the_cast_of_a_bfloat16_model_changes_nothing(model: LlamaForCausalLM) -> None:
    torch.nn.Module.to(model, dtype=torch.bfloat16)
    report = BF16Cast().quantize(model)
    assert set(report.weight_error.values()) == {0.0}


def test_the_cast_fits_models_with_linear_layers_only(model: LlamaForCausalLM) -> None:
    BF16Cast().require_fit(model)
    model.model.layers = torch.nn.ModuleList()
    with pytest.raises(ValueError, match=r"no torch\.nn\.Linear"):
        BF16Cast().require_fit(model)


def test_the_cast_refuses_weights_that_are_not_finite(model: LlamaForCausalLM) -> None:
    block_linears(model)["model.layers.0.mlp.down_proj"].weight.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"layer model.layers.0.mlp.down_proj: .* not finite"):
        BF16Cast().quantize(model)
    assert model.lm_head.weight.dtype == torch.float32
