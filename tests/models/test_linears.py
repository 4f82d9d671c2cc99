import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    XLMConfig,
    XLMWithLMHeadModel,
)

from unlearn_lab.models.linears import block_linears

SIZES = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def test_llama_has_seven_a_block_and_neither_head_nor_embeddings():
    found = block_linears(LlamaForCausalLM(LlamaConfig(**SIZES)))
    assert len(found) == 14
    assert all(name.startswith("model.layers.") for name in found)
    assert {name.rsplit(".", 1)[1] for name in found} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip


def test_phi_has_six_a_block():
    assert len(block_linears(PhiForCausalLM(PhiConfig(**SIZES)))) == 12


def test_gpt2_is_refused_because_nothing_would_be_quantized():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2))
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has no torch\.nn\.Linear .*blocks"):
        block_linears(model)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match="LlamaForCausalLM has no"):
        block_linears(LlamaForCausalLM(LlamaConfig(**SIZES | {"num_hidden_layers": 0})))


def test_a_mixture_of_experts_is_refused_because_most_of_it_would_be_left_out():
    model = MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=2))
    with pytest.raises(ValueError, match=r"mixture of experts.* model\.layers\.0\..*dense"):
        block_linears(model)


def test_matrices_outside_the_main_blocks_are_refused_by_name():
    model = XLMWithLMHeadModel(XLMConfig(vocab_size=20, emb_dim=16, n_layers=2, n_heads=2))
    with pytest.raises(
        ValueError, match=r"67% of its weight matrices .*transformer\.ffns\.0\.lin1"
    ):
        block_linears(model)


def test_a_second_stack_of_blocks_is_refused():
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model.vision = torch.nn.Module()
    model.vision.layers = torch.nn.ModuleList([torch.nn.Linear(16, 16)])
    with pytest.raises(ValueError, match=r"LlamaForCausalLM: 6% .* \(vision\.layers\.0\.weight\)"):
        block_linears(model)


def test_projections_beside_the_embeddings_count_as_those():
    sizes = {**SIZES, "ffn_dim": 24, "word_embed_proj_dim": 8, "max_position_embeddings": 32}
    sizes.pop("intermediate_size")
    assert len(block_linears(OPTForCausalLM(OPTConfig(**sizes)))) == 12
