"""Log-probabilities of texts: against one text at a time by hand, and what is held at a time."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    GraniteConfig,
    GraniteForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from unlearn_lab.data.batch import Answered
from unlearn_lab.evaluate import scoring
from unlearn_lab.evaluate.scoring import Scorer
from unlearn_lab.models import causal_lm

SIZES = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, initializer_range=0.3)).eval()


def scaled():
    """Granite divides its logits, which no function of hidden states and head knows."""
    torch.manual_seed(0)
    return GraniteForCausalLM(
        GraniteConfig(**SIZES, initializer_range=0.3, logits_scaling=4.0)
    ).eval()


TEXTS = [torch.arange(3, 3 + length) for length in (9, 2, 30, 17)]


def by_hand(model, text):
    logits = model(text[None]).logits[0, :-1].double()
    return logits.log_softmax(-1).gather(1, text[1:, None]).squeeze(1)


@pytest.mark.parametrize("make", [llama, scaled])
@pytest.mark.parametrize("chunk", [2**24, 5 * 61], ids=["whole", "chunks"])
def test_scores_are_those_of_one_text_at_a_time(monkeypatch, make, chunk):
    monkeypatch.setattr(causal_lm, "CHUNK_ELEMENTS", chunk)
    model = make()
    with torch.inference_mode():
        found = Scorer(model).score(TEXTS)
        for text, (values, hits) in zip(TEXTS, found, strict=True):
            assert values.dtype == torch.float32
            torch.testing.assert_close(values.double(), by_hand(model, text), rtol=0, atol=2e-6)
            best = model(input_ids=text[None]).logits[0, :-1].argmax(-1)
            assert torch.equal(hits, best == text[1:])


@pytest.mark.parametrize("make", [llama, scaled])
def test_of_an_answer_only_its_own_tokens_are_scored(make):
    model, prompts = make(), (4, 1, 20, 16)
    answers = [Answered(*pair) for pair in zip(TEXTS, prompts, strict=True)]
    mixed = [*answers[:2], *TEXTS[2:]]
    with torch.inference_mode():
        whole, alone = Scorer(model).score(TEXTS), Scorer(model).score(answers)
        both = Scorer(model).score(mixed)
    for (values, hits), (own, own_hits), prompt in zip(whole, alone, prompts, strict=True):
        torch.testing.assert_close(own, values[prompt - 1 :], rtol=0, atol=2e-6)
        assert torch.equal(own_hits, hits[prompt - 1 :])
    assert [len(values) for values, _ in both] == [5, 1, 29, 16]


@pytest.mark.parametrize("window", [None, 8, 64])
def test_answers_share_what_is_before_them(window):
    """Two questions, of which one is longer than the shortest window."""
    torch.manual_seed(0)
    config = MistralConfig(
        **SIZES, initializer_range=0.3, sliding_window=window, num_key_value_heads=1
    )
    model, widths = MistralForCausalLM(config).eval(), []
    model.base_model.register_forward_pre_hook(
        lambda _, __, given: widths.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    question, other = list(range(3, 20)), list(range(20, 26))
    texts = [
        Answered(torch.tensor([*start, *answer]), len(start))
        for start in (question, other)
        for answer in ([30, 31], [32], [33, 34, 35, 36])
    ]
    with torch.inference_mode():
        found, seen = Scorer(model).score_all(texts, 1000), widths[2:]
        for text, (values, _) in zip(texts, found, strict=True):
            wanted = by_hand(model, text.ids)[text.prompt - 1 :]
            torch.testing.assert_close(values.double(), wanted, rtol=0, atol=2e-6)
    assert seen == [(2, 16), (6, 5)]


def test_answers_do_not_share_a_state_that_tokens_change():
    torch.manual_seed(0)
    config = Lfm2Config(
        **SIZES, num_key_value_heads=1, layer_types=["conv", "full_attention"], pad_token_id=0
    )
    model = Lfm2ForCausalLM(config).eval()
    texts = [Answered(torch.tensor([*range(3, 20), last]), 17) for last in (30, 31, 32)]
    with torch.inference_mode():
        for text, (values, _) in zip(texts, Scorer(model).score_all(texts, 100), strict=True):
            wanted = by_hand(model, text.ids)[16:]
            torch.testing.assert_close(values.double(), wanted, rtol=0, atol=2e-6)


def test_batches_are_small_on_a_processor_and_answers_stay_beside_those_to_the_same_question():
    texts = [torch.arange(900)] * 3 + [torch.arange(1500)] * 3
    assert list(scoring._batches(texts, 4096)) == [[3, 4], [5, 0], [1, 2]]
    ids = torch.arange(100)
    asked = [Answered(ids + place % 2, 90) for place in range(6)]
    assert list(scoring._batches([*asked, ids], 300)) == [[6, 0, 2], [4, 1, 3], [5]]


class Largest(TorchDispatchMode):
    """The most elements of a tensor with a vocabulary's columns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and one.dim() > 1 and one.shape[-1] == 61:
                self.elements = max(self.elements, one.numel())
        return result


def test_logits_of_a_batch_do_not_exist_at_a_time(monkeypatch):
    monkeypatch.setattr(causal_lm, "CHUNK_ELEMENTS", 5 * 61)
    scorer, largest = Scorer(llama()), Largest()
    with torch.inference_mode():
        scorer.score(TEXTS[:1])  # decides whether the head is plain, on 16 tokens
        with largest:
            scorer.score(TEXTS)
    assert 0 < largest.elements <= 5 * 61


def test_logits_of_a_scaled_model_are_those_of_one_text_at_a_time():
    scorer, largest = Scorer(scaled()), Largest()
    with torch.inference_mode(), largest:
        scorer.score(TEXTS)
    assert 0 < largest.elements <= 30 * 61
