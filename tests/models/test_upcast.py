import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_lab.models.upcast import float32_arithmetic


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2)).to(torch.bfloat16)


def test_arithmetic_is_float32_on_the_bfloat16_values(model):
    tokens = torch.arange(8)[None]
    reference = LlamaForCausalLM(model.config).float()
    reference.load_state_dict(model.state_dict())
    with float32_arithmetic(model):
        logits = model(input_ids=tokens).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, reference(input_ids=tokens).logits)


def test_weights_gradients_and_optimizer_state_stay_bfloat16(model):
    names = [name for name, _ in model.named_parameters()]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with float32_arithmetic(model):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
        assert {p.grad.dtype for p in model.parameters()} == {torch.bfloat16}
        optimizer.step()
    assert {s["exp_avg"].dtype for s in optimizer.state.values()} == {torch.bfloat16}
    assert [name for name, _ in model.named_parameters()] == names
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters())


def test_a_step_below_half_the_spacing_is_lost_as_in_pure_bfloat16(model):
    """1 + 1e-3 rounds back to 1 in bfloat16, whatever the arithmetic of the loss."""
    weight = model.model.norm.weight
    with float32_arithmetic(model):
        original = model.model.norm.parametrizations.weight.original
        torch.optim.SGD([original], lr=1e-3).zero_grad()
        original.grad = torch.ones_like(original)
        torch.optim.SGD([original], lr=1e-3).step()
    assert torch.equal(model.model.norm.weight, torch.ones_like(weight))


def test_other_dtypes_are_left_alone(model):
    model = model.float()
    with float32_arithmetic(model):
        assert not hasattr(model.lm_head, "parametrizations")


def test_the_model_is_put_back_after_an_error(model):
    with pytest.raises(RuntimeError, match="boom"), float32_arithmetic(model):
        raise RuntimeError("boom")
    assert not hasattr(model.lm_head, "parametrizations")
