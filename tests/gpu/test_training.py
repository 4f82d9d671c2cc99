"""Training on a GPU: 8-bit moments, batches in parts, and the forecast of its memory."""

import dataclasses
from dataclasses import asdict

import pytest
import torch
from torch.nn import Parameter
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unlearn.shared_training import GA_GDR, RUNTIME
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.batch import pad, to_device
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.unlearn.objectives.forward import ModelForward
from unlearn_lab.unlearn.optimizers.adamw_8bit import AdamW8bit
from unlearn_lab.unlearn.training.forecast import TrainingShape, peak_bytes

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
CONFIG = LlamaConfig(
    vocab_size=8192,
    hidden_size=512,
    intermediate_size=1024,
    num_hidden_layers=4,
    num_attention_heads=8,
    tie_word_embeddings=False,
)


@pytest.mark.parametrize("paged", [False, True])
def test_8_bit_moments_move_weights_as_32_bit_ones_do(paged):
    torch.manual_seed(0)
    start, gradients = torch.randn(64, 256), torch.randn(20, 64, 256)
    settings = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    eight, full = (Parameter(start.clone().to(CUDA)) for _ in range(2))
    ours = AdamW8bit(**settings, paged=paged).make([eight])
    theirs = torch.optim.AdamW([full], **settings)
    for gradient in gradients:
        for parameter, optimizer in ((eight, ours), (full, theirs)):
            parameter.grad = gradient.to(CUDA)
            optimizer.step()
    moved = (full - start.to(CUDA)).norm()
    assert (eight - full).norm() < 0.1 * moved
    moments = [one for state in ours.state.values() for one in state.values()]
    assert any(isinstance(one, torch.Tensor) and one.dtype == torch.uint8 for one in moments)


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_the_forecast_is_within_a_fifth_of_the_peak(weights):
    shape = TrainingShape(
        weights=weights,
        arithmetic="bf16",
        roles={"forget": False, "retain": False},
        sequences=4,
        length=512,
        choose=lambda model: None,
        optimizer=torch.optim.AdamW,
    )
    runtime = Runtime(**asdict(RUNTIME) | {"accelerator": "gpu"})
    forecast = peak_bytes(CONFIG, shape, runtime)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[weights]
    model = LlamaForCausalLM(CONFIG).to(CUDA, dtype).train()
    optimizer = torch.optim.AdamW(model.parameters())
    texts = [torch.randint(3, 8192, (512,)) for _ in range(4)]
    tokens = to_device(pad(texts, range(4), 0), CUDA)
    torch.cuda.reset_peak_memory_stats()
    with training_arithmetic(model, "bf16"):
        for _ in range(2):
            optimizer.zero_grad()
            GA_GDR(ModelForward(model, None), {"forget": tokens, "retain": tokens}).total.backward()
            optimizer.step()
    assert forecast == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.2)
    fewer = dataclasses.replace(shape, sequences=1)
    assert peak_bytes(CONFIG, fewer, runtime) < forecast
