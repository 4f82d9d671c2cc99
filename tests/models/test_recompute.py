"""Gradient checkpointing: the same gradients, from blocks that run twice."""

import dataclasses

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from tests.unlearn.training.test_fit import RUNTIME
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.models.recompute import recomputed_blocks
from unlearn_lab.unlearn.training.lora import LoRA

ON = dataclasses.replace(RUNTIME, gradient_checkpointing=True)
OFF = RUNTIME
TOKENS = torch.arange(18).view(2, 9)


def llama():
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2)).train()


def opt():
    """Drops out half of everything, within its layers and by functions that look at `training`."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "word_embed_proj_dim": 16, "max_position_embeddings": 12}
    return OPTForCausalLM(OPTConfig(**sizes, dropout=0.5, attention_dropout=0.5)).train()


def gradients(model, runtime, *, passes=1):
    model.zero_grad()
    with training_arithmetic(model, "fp32"), recomputed_blocks(model, runtime):
        torch.manual_seed(7)
        loss = model.base_model(input_ids=TOKENS, use_cache=False).last_hidden_state.tanh().sum()
        for left in range(passes, 0, -1):
            loss.backward(retain_graph=left > 1)
    trained = trained_parameters(model)
    return {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    assert max(float(value.abs().max()) for value in wanted.values()) > 1e-3
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)


@pytest.fixture
def calls():
    """Counts how often the blocks of a model are entered."""

    def count(model):
        seen = []
        for block in model.model.layers:
            block.mlp.register_forward_pre_hook(lambda module, inputs: seen.append(module))
        return seen

    return count


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_the_same(dtype, training):
    model = llama().to(dtype).train(training)
    assert_equal(gradients(model, ON), gradients(model, OFF))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_so_are_those_of_adapters_though_no_input_asks_for_one(dtype):
    model = llama().to(dtype)
    LoRA(rank=2, alpha=4.0, dropout=0.5, modules=None).inject(model, seed=0)
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter)
    found = gradients(model, ON)
    assert len(found) == 2 * 21
    assert_equal(found, gradients(model, OFF))


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_drawn_again_as_it_was_and_only_in_training(training):
    model = opt().train(training)
    assert_equal(gradients(model, ON), gradients(model, OFF))
    found, other = gradients(model, ON), gradients(model.train(not training), OFF)
    assert any(not torch.allclose(other[name], value) for name, value in found.items())


def test_a_graph_that_is_kept_can_be_gone_through_twice():
    """As the released form of SURE does."""
    assert_equal(gradients(llama(), ON, passes=2), gradients(llama(), OFF, passes=2))


@pytest.mark.parametrize(("runtime", "times"), [(ON, 2), (OFF, 1)])
def test_blocks_run_again_in_the_backward_pass(calls, runtime, times):
    model = llama()
    seen = calls(model)
    gradients(model, runtime)
    assert len(seen) == 3 * times


def test_without_gradients_nothing_is_done_and_the_cache_works(calls):
    model = llama().eval()
    wanted = model.generate(TOKENS[:1], max_new_tokens=4, do_sample=False, pad_token_id=0)
    seen = calls(model)
    with recomputed_blocks(model, ON):
        found = model.generate(TOKENS[:1], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(found, wanted)
    assert len(seen) == 3 * 4


@pytest.mark.parametrize(
    ("wanted", "accelerator", "done"),
    [(None, "cpu", False), (None, "gpu", True), (False, "gpu", False), (True, "cpu", True)],
)
def test_left_open_it_is_done_on_a_gpu(wanted, accelerator, done):
    model = llama()
    runtime = dataclasses.replace(RUNTIME, gradient_checkpointing=wanted, accelerator=accelerator)
    with recomputed_blocks(model, runtime):
        assert all(("forward" in vars(block)) == done for block in model.model.layers)


def test_the_model_is_put_back_after_an_error():
    model = llama()
    with pytest.raises(RuntimeError, match="boom"), recomputed_blocks(model, ON):
        raise RuntimeError("boom")
    assert not any("forward" in vars(block) for block in model.model.layers)
