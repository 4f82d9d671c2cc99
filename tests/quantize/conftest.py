"""Random Llamas that a quantizer may change, and text to calibrate it on."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model, load_tokenizer


@pytest.fixture
def model() -> LlamaForCausalLM:
    """Two blocks of seven linear layers each; hidden size 8, MLP 12."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint)


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> Path:
    """A Llama of hidden size 256 with rows of unlike weights and unlike activations, on disk."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=256,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    tails = torch.distributions.StudentT(2.0)
    with torch.no_grad():
        for linear in block_linears(model).values():
            linear.weight.copy_(0.05 * tails.sample(linear.weight.shape).clamp(-20, 20))
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(torch.rand_like(weight).mul(6).sub(3).exp())
    folder = tmp_path_factory.mktemp("wide")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sequences() -> Int[Tensor, "samples length"]:
    return torch.randint(20, (12, 32), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no optional library were installed."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("unlearn_lab.config.libraries.version", missing)


@pytest.fixture
def compress_with(wide, tokenizer, sequences, tmp_path):
    """Runs a calibrated quantizer, and gives the folder it wrote and its report."""

    def run(quantizer, *, weights="fp32", name="quantized", source=wide, text=sequences):
        folder = tmp_path / name
        folder.mkdir()
        model = load_model(source, weights)
        return folder, quantizer.compress(model, tokenizer, text, folder, torch.device("cpu"))

    return run
