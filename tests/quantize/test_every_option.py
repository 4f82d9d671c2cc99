"""Every option of `quant` on a Llama of hidden size 256: its errors are those of its weights."""

import pytest
import torch

from unlearn_lab.config.build import build
from unlearn_lab.config.paths import data_dir
from unlearn_lab.evaluate.logits import logit_error
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.quantizer import AnyQuantizer, CalibratedQuantizer

OPTIONS = sorted(path.stem for path in (data_dir("conf") / "quant").glob("*.yaml"))
LOSSY = [name for name in OPTIONS if name not in ("none", "prequantized")]
BITS = {"int8": 8, "llmint8": 8, "nf4": 4, "fp4": 4, "bf16": 16}
MOST = {2: 1.0, 3: 0.6, 4: 0.6, 8: 0.05, 16: 0.003}
"""More than this share of a layer's norm no option of so many bits may lose here."""


@pytest.fixture(scope="module")
def full(wide):
    return load_model(wide, "fp32")


@pytest.fixture
def quantized(plain, wide, tokenizer, sequences, tmp_path):
    def make(name):
        node = plain(f"quant={name}")["quant"]
        quantizer = build(node, AnyQuantizer, "quant")
        model = load_model(wide, "fp32")
        quantizer.require_fit(model)
        if not isinstance(quantizer, CalibratedQuantizer):
            return quantizer, model, quantizer.quantize(model)
        report = quantizer.compress(model, tokenizer, sequences, tmp_path, torch.device("cpu"))
        return quantizer, load_model(tmp_path, "fp32"), report

    return make


def held(layer: torch.nn.Linear) -> torch.Tensor:
    """The weight that a layer stands for; that of LLM.int8() is codes, and a scale a row."""
    weight = layer.weight.detach().float()
    scales = getattr(layer.weight, "SCB", None)
    return weight if scales is None else weight * (scales / 127)[:, None]


@pytest.mark.parametrize("name", LOSSY)
def test_the_errors_reported_are_those_of_the_weights(quantized, full, sequences, name):
    quantizer, model, report = quantized(name)
    bits = BITS.get(name) or int(next(mark for mark in name.split("_q")[-1] if mark.isdigit()))
    assert quantizer.bits == bits
    assert report.num_layers == len(report.weight_error) == len(block_linears(full))
    assert report.library
    assert report.kernel
    for layer, error in report.weight_error.items():
        assert 0 < error < MOST[bits]
        weight = block_linears(full)[layer].weight.detach()
        after = held(block_linears(model)[layer])
        if not getattr(quantizer, "rescales", False):
            lost = torch.linalg.vector_norm(after - weight) / torch.linalg.vector_norm(weight)
            assert error == pytest.approx(float(lost), rel=1e-3)
    logits = [each(sequences).logits.detach().float() for each in (model.float(), full)]
    assert 0 < logit_error([logits[0].flatten(0, 1)], [logits[1].flatten(0, 1)]) < 2
