"""Quantizers on a GPU agree with themselves on a CPU."""

import copy

import pytest
import torch

from tests.quantize.test_llmint8 import (
    OUTLIERS,
    SLACK,
    activations,
    by_definition,
    distance,
    up_projection,
)
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.bnb import BNB4, BNB8
from unlearn_lab.quantize.formats.packed import quantized_layers, read_codes
from unlearn_lab.quantize.gguf import GGUF
from unlearn_lab.quantize.llmint8 import LLMInt8
from unlearn_lab.quantize.rtn import RTN

pytestmark = pytest.mark.gpu
ON_LOAD = [
    RTN(bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax"),
    BNB4(table="fp4", block_size=64),
    BNB4(table="nf4", block_size=64),
    BNB8(),
    LLMInt8(threshold=6.0),
    GGUF(format="q4_0"),
    GGUF(format="q8_0"),
]


@pytest.mark.parametrize("quantizer", ON_LOAD, ids=str)
@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_rounding_on_load_is_the_same_on_both_devices(wide, quantizer, weights):
    here = load_model(wide, weights)
    there = copy.deepcopy(here).to("cuda")
    ours, theirs = quantizer.quantize(here), quantizer.quantize(there)
    assert theirs.num_layers == ours.num_layers
    for name, layer in block_linears(there).items():
        assert layer.weight.is_cuda
        same = layer.weight.cpu() == block_linears(here)[name].weight
        assert same.float().mean() > 0.999  # ties may fall to either side
        assert theirs.weight_error[name] == pytest.approx(ours.weight_error[name], rel=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("threshold", [6.0, 1e4, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wild", [(), OUTLIERS])
def test_llm_int8_computes_on_the_gpu_what_the_definition_says(model, wild, dtype, threshold):
    """The kernel's results pass float16, whatever goes in and comes out."""
    inputs = activations(*wild).to("cuda", dtype)
    plain = up_projection(model.to("cuda"), None, dtype)
    found = up_projection(model, LLMInt8(threshold=threshold), dtype)(inputs)
    assert found.is_cuda
    assert found.dtype == dtype
    expected = by_definition(plain.cpu(), inputs.cpu(), threshold)
    assert distance(found.cpu(), expected) < max(SLACK[dtype], 2.0**-9)


@torch.no_grad()
def test_llm_int8_answers_alike_on_both_devices(wide, sequences):
    here, there = load_model(wide, "bf16"), load_model(wide, "bf16").to("cuda")
    LLMInt8(threshold=6.0).quantize(here)
    report = LLMInt8(threshold=6.0).quantize(there)
    assert report.kernel.startswith("LLM.int8() on cuda: weights and bfloat16 activations")
    found = there(sequences.to("cuda")).logits
    assert torch.equal(found, there(sequences.to("cuda")).logits)
    assert distance(found.cpu(), here(sequences).logits) < 0.1


@pytest.mark.parametrize("kind", ["gptq", "awq"])
def test_calibration_on_the_gpu_leaves_a_checkpoint_that_a_cpu_reads(
    kind, wide, tokenizer, sequences, tmp_path
):
    """llm-compressor takes the GPU by itself; the model is given to it on the CPU."""
    from tests.quantize.test_awq import AWQ4
    from tests.quantize.test_gptq import GPTQ4

    quantizer = GPTQ4 if kind == "gptq" else AWQ4
    report = quantizer.compress(
        load_model(wide, "bf16"), tokenizer, sequences, tmp_path, torch.device("cuda")
    )
    assert torch.cuda.max_memory_allocated() > 0
    assert report.num_layers == len(quantized_layers(tmp_path)) == 14
    for name in quantized_layers(tmp_path):
        codes = read_codes(tmp_path, name, bits=4, rescaled=True)
        assert codes.integers.unique().numel() > 4
    logits = load_model(tmp_path, "bf16").to("cuda")(sequences.to("cuda")).logits
    assert torch.isfinite(logits).all()
