import copy

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn_lab.data.batch import pad
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.metric import Continue, LogLikelihood
from unlearn_lab.models.arithmetic import casts_once, evaluation_arithmetic, training_arithmetic
from unlearn_lab.unlearn.objectives.forward import ModelForward, remember_reference


def words(count):
    made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(count)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2)).to(torch.bfloat16)


def test_arithmetic_is_float32_on_the_bfloat16_values(model):
    tokens = torch.arange(8)[None]
    reference = LlamaForCausalLM(model.config).float()
    reference.load_state_dict(model.state_dict())
    with training_arithmetic(model, "fp32"):
        logits = model(input_ids=tokens).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, reference(input_ids=tokens).logits)


def test_weights_gradients_and_optimizer_state_stay_bfloat16(model):
    names = [name for name, _ in model.named_parameters()]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with training_arithmetic(model, "fp32"):
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
    with training_arithmetic(model, "fp32"):
        original = model.model.norm.parametrizations.weight.original
        torch.optim.SGD([original], lr=1e-3).zero_grad()
        original.grad = torch.ones_like(original)
        torch.optim.SGD([original], lr=1e-3).step()
    assert torch.equal(model.model.norm.weight, torch.ones_like(weight))


def test_float32_weights_in_float32_are_left_alone(model):
    model = model.float()
    with training_arithmetic(model, "fp32"):
        assert not hasattr(model.lm_head, "parametrizations")


def test_the_model_is_put_back_after_an_error(model):
    with pytest.raises(RuntimeError, match="boom"), training_arithmetic(model, "fp32"):
        raise RuntimeError("boom")
    assert not hasattr(model.lm_head, "parametrizations")


def test_float32_weights_under_autocast_learn_from_bfloat16_products(model):
    """Gradients are float32, and the second step sees the weights that the first one changed."""
    model, tokens = model.float(), torch.arange(8)[None]
    reference = copy.deepcopy(model)
    with training_arithmetic(model, "bf16"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        first = model(input_ids=tokens, labels=tokens)
        assert first.logits.dtype == torch.bfloat16
        first.loss.backward()
        assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
        optimizer.step()
        second = model(input_ids=tokens).logits
    assert "forward" not in vars(model.model) | vars(model.lm_head)
    torch.testing.assert_close(second.float(), model(input_ids=tokens).logits, rtol=0, atol=0.02)
    moved = (model(input_ids=tokens).logits - reference(input_ids=tokens).logits).abs().max()
    assert moved > 0.1


@pytest.mark.parametrize("context", [training_arithmetic, evaluation_arithmetic])
def test_float32_is_in_full_whatever_was_allowed(model, context):
    torch.set_float32_matmul_precision("medium")
    try:
        with context(model, "fp32"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_losses_and_backward_passes_are_outside_autocast(model):
    model = model.float()
    with training_arithmetic(model, "bf16"):
        model(input_ids=torch.arange(8)[None])
        assert not torch.is_autocast_enabled("cpu")


def test_bfloat16_weights_in_bfloat16_are_used_as_they_are(model):
    with training_arithmetic(model, "bf16"):
        assert "forward" not in vars(model.model) | vars(model.lm_head)
        assert model(input_ids=torch.arange(8)[None]).logits.dtype == torch.bfloat16


def test_a_copied_head_computes_with_its_own_weights(model):
    """The reference copies the head of a model in training, whose weights change afterwards."""
    model, hidden = model.float(), torch.ones(3, 16)
    with training_arithmetic(model, "bf16"):
        kept = copy.deepcopy(model.lm_head)
        before = kept(hidden)
        torch.nn.init.zeros_(model.lm_head.weight)
        assert before.dtype == torch.bfloat16
        assert torch.equal(kept(hidden), before)
        assert not model.lm_head(hidden).any()


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_scores_are_those_of_the_arithmetic(model, kind, weights):
    model, tokens = model.to(weights), torch.arange(8)[None]
    exact = copy.deepcopy(model).float()(input_ids=tokens).logits
    with evaluation_arithmetic(model, kind):
        logits = model(input_ids=tokens).logits
    assert logits.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
    difference = (logits.float() - exact).abs().max()
    assert difference == 0 if kind == "fp32" else 0 < difference < 0.02


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_a_reference_in_the_same_arithmetic_is_the_policy_at_step_0(model, kind, weights):
    """NPO's log-ratio: within 1e-4 nats in float32; within 0.05 for 8 tokens in bfloat16, where
    another padding orders sums differently."""
    model = model.to(weights).eval()
    texts = [torch.arange(9), torch.arange(4), torch.arange(2, 9)]
    with training_arithmetic(model, kind):
        reference = remember_reference(
            model, {"forget": texts}, 0, likelihood_of=["forget"], distribution_of=[], batch_size=1
        )
        tokens = pad(texts, range(3), 0)
        policy = ModelForward(model, reference).policy(tokens).sequence_log_likelihood()
    ratio = policy - reference.log_likelihood("forget", tokens)
    assert ratio.abs().max() <= {"fp32": 1e-4, "bf16": 0.05}[kind]


class Casts(TorchDispatchMode):
    """Counts casts of a model's weights."""

    def __init__(self, model):
        super().__init__()
        self._weights = {parameter.data_ptr() for parameter in model.parameters()}
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self._weights:
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_weights_that_stay_are_cast_once(model):
    model, tokens = model.float(), torch.arange(8)[None]
    linears = sum(isinstance(module, torch.nn.Linear) for module in model.modules())

    def casts(passes):
        with Casts(model) as seen, torch.no_grad():
            found = [model(input_ids=tokens).logits for _ in range(passes)]
        return found, seen.count

    with training_arithmetic(model, "bf16"):
        plain, each = casts(4)
        with casts_once(model, "bf16"):
            kept, once = casts(4)
        again, after = casts(4)
    assert all(torch.equal(a, b) for a, b in zip(plain, kept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert (each, once, after) == (4 * linears, linears, 4 * linears)


def test_an_evaluation_casts_each_weight_once(model):
    model = model.float()
    tokenizer = words(model.config.vocab_size)
    linears = sum(isinstance(module, torch.nn.Linear) for module in model.modules())
    asked = [Continue("w1 w2", 5), LogLikelihood("w3 w4 w5", 9)]
    with evaluation_arithmetic(model, "bf16"), Casts(model) as seen:
        answer(model, tokenizer, asked, batch_tokens=100)
    assert seen.count == linears
