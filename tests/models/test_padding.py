"""Architectures whose answers depend on padding are told from those whose do not."""

import pytest
from transformers import BloomConfig, GPT2Config, LlamaConfig, MambaConfig, RwkvConfig, XLMConfig

from tests.models.families import FAMILIES
from unlearn_lab.models.padding import require_padding

SMALL = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3}
HEEDING = {name: make() for name, make in FAMILIES.items()} | {
    "gpt2": GPT2Config(vocab_size=100, n_embd=32, n_layer=3, n_head=4),
    "bloom": BloomConfig(vocab_size=100, hidden_size=32, n_layer=3, n_head=4),
    "mamba": MambaConfig(**SMALL, state_size=4),
}


@pytest.mark.parametrize("config", HEEDING.values(), ids=HEEDING.keys())
def test_what_heeds_the_mask_passes(config):
    before = config.to_dict()
    require_padding(config, trust_remote_code=False)
    assert config.to_dict() == before


def test_what_does_not_is_refused():
    config = RwkvConfig(**SMALL, attention_hidden_size=32, intermediate_size=64)
    with pytest.raises(ValueError, match=r"RwkvForCausalLM .*prompt differently.* padded"):
        require_padding(config, trust_remote_code=False)


def test_what_cannot_generate_from_a_batch_is_refused():
    config = XLMConfig(vocab_size=100, emb_dim=32, n_layers=3, n_heads=4)
    with pytest.raises(ValueError, match=r"XLMWithLMHeadModel cannot continue.* batch"):
        require_padding(config, trust_remote_code=False)


def test_of_a_large_model_two_layers_are_tried():
    config = LlamaConfig(
        vocab_size=128_000,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=400,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=127_999,
    )
    require_padding(config, trust_remote_code=False)
