"""A tiny random Llama in float64 and batches for it."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_lab.data.batch import pad

VOCABULARY = 23


def random_llama(seed=0, **changed):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.3,
        tie_word_embeddings=False,
        **changed,
    )
    return LlamaForCausalLM(config).double()


@pytest.fixture
def make_llama():
    return random_llama


@pytest.fixture
def model():
    return random_llama()


@pytest.fixture
def sequences():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in (7, 4, 9, 5)]


@pytest.fixture
def tokens(sequences):
    return pad(sequences, range(4), 0)
