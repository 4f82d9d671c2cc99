"""The forecast of a training's memory: what it counts, and against the peak of a real process."""

import functools
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from tests.models.families import FAMILIES
from tests.unlearn.shared_training import RUNTIME
from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.linears import block_linears, choose_trainable
from unlearn_lab.unlearn.training.forecast import TrainingShape, bound_bytes, peak_bytes

ROOT = Path(__file__).resolve().parents[3]
CONFIG = LlamaConfig(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    tie_word_embeddings=False,
)
WEIGHTS = 2 * 512 * 64 + 3 * (4 * 64**2 + 3 * 64 * 128) + 7 * 64
SHAPE = TrainingShape(
    weights="fp32",
    arithmetic="fp32",
    roles={"forget": False, "retain": False},
    sequences=1,
    length=2,
    choose=lambda model: None,
    optimizer=torch.optim.AdamW,
)
KEPT = 3 * (4 * 64**2 + 3 * 64 * 128)
"""Weights of the linear layers of the blocks."""


def runtime(**changed):
    return Runtime(**asdict(RUNTIME) | changed)


def peak(shape=SHAPE, **changed):
    """In bytes, without the scratch memory of a CPU."""
    return peak_bytes(CONFIG, shape, runtime(**changed)) - 2 * 10**8


def blocks(model):
    choose_trainable(model, "block_linears")
    assert sum(linear.weight.numel() for linear in block_linears(model).values()) == KEPT


def test_weights_gradients_and_moments_of_a_batch_of_nothing():
    """4 bytes each of weight, gradient and two moments, and little else."""
    assert peak() == pytest.approx(16 * WEIGHTS, rel=0.15)
    bf16 = replace(SHAPE, weights="bf16", arithmetic="bf16")
    assert peak(bf16) == pytest.approx(8 * WEIGHTS, rel=0.15)


def test_weights_that_are_not_trained_have_neither_gradient_nor_moments():
    shape = replace(SHAPE, choose=blocks)
    assert peak(shape) == pytest.approx(4 * WEIGHTS + 12 * KEPT, rel=0.15)


@pytest.mark.parametrize(
    ("changed", "per_weight"),
    [
        ({}, 8),
        ({"optimizer": functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)}, 4),
        ({"share": 0.25}, 0.25 * (8 + 8)),
        ({"weights": "bf16", "arithmetic": "bf16"}, 4),
        ({"weights": "bf16", "arithmetic": "bf16", "stochastic": True}, 8 + 8),
    ],
    ids=["adamw", "momentum", "sure", "bf16", "stochastic"],
)
def test_state_of_the_optimizer(changed, per_weight):
    """Bytes per weight beyond those of an optimizer without state."""
    shape = replace(SHAPE, **changed)
    plain = functools.partial(torch.optim.SGD, lr=0.1)
    without = replace(shape, optimizer=plain, share=None, stochastic=False)
    assert peak(shape) - peak(without) == pytest.approx(per_weight * WEIGHTS, rel=0.01)


def test_activations_grow_with_tokens_and_splits():
    one = peak(replace(SHAPE, sequences=8, length=256))
    more = peak(replace(SHAPE, sequences=16, length=256))
    assert 1.7 < (more - 16 * WEIGHTS) / (one - 16 * WEIGHTS) < 2.1
    alone = peak(replace(SHAPE, sequences=8, length=256, roles={"learn": False}))
    assert 1.7 < (one - 16 * WEIGHTS) / (alone - 16 * WEIGHTS) < 2.2


def test_parts_recomputed_blocks_and_bfloat16_need_less():
    shape = replace(SHAPE, sequences=8, length=256)
    whole = peak(shape)
    assert peak(shape, micro_batch=1) < 0.4 * whole
    assert peak(shape, gradient_checkpointing=True) < 0.8 * whole
    assert peak(replace(shape, weights="bf16", arithmetic="bf16")) < 0.7 * whole
    assert peak(replace(shape, arithmetic="bf16")) < whole


def test_a_reference_costs_its_logits_and_a_copy_of_a_head_that_is_trained():
    shape = replace(SHAPE, sequences=8, length=256)
    compared = replace(shape, roles={"forget": False, "retain": True})
    assert peak(compared) > peak(shape)


def test_the_bound_is_above_the_forecast():
    for sequences, length in ((1, 2), (8, 128), (1, 512)):
        for roles in (SHAPE.roles, {"forget": True, "retain": True}):
            shape = replace(SHAPE, sequences=sequences, length=length, roles=roles)
            assert bound_bytes(CONFIG, shape) > peak(shape)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family == "gemma2" else [pytest.mark.slow])
        for family in sorted(FAMILIES)
    ],
)
def test_every_family_runs_without_data(family):
    shape = replace(SHAPE, sequences=2, length=16, roles={"forget": False, "retain": True})
    for arithmetic in ("fp32", "bf16"):
        for weights in ("fp32", "bf16"):
            changed = replace(shape, arithmetic=arithmetic, weights=weights)
            assert peak_bytes(FAMILIES[family](), changed, runtime()) > 0


SIZES = [
    ("17m", "fp32", "ga_gdr"),
    ("52m", "fp32", "npo_klr"),
    ("smollm2", "fp32", "ga_gdr"),
    ("smollm2", "fp32", "npo_klr"),
    ("smollm2", "autocast", "ga_gdr"),
    ("smollm2", "bf16", "npo_klr"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "arithmetic", "method"), SIZES)
def test_within_a_fifth_of_the_peak_of_a_process(shape, arithmetic, method):
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.step", "--forecast", f"{method}/ours"),
            *("--shape", shape, "--arithmetic", arithmetic),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ended.stdout)
    assert found["forecast"] == pytest.approx(found["peak"], rel=0.2)
