"""Sampled continuations: of the right distribution, repeatable, and blind to their neighbours."""

import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.metric import Continue, Sampling
from unlearn_lab.evaluate.sampling import GumbelMax

PROMPTS = ("w1 w2", "w9", "w30 w4 w5 w17", "w2 w2 w2", "w58")


def drawn(prompt: str, num: int, *, temperature: float, index: int = 0) -> list[Continue]:
    """Requests for several samples of one prompt."""
    return [
        Continue(prompt, num, Sampling(temperature=temperature, seed=0, index=place))
        for place in range(index + 1)
    ]


def excess(counts: Sequence[float], expected: Sequence[float]) -> float:
    """Pearson's chi-square in standard deviations above its mean; rare cells are pooled."""
    cells = [(c, e) for c, e in zip(counts, expected, strict=True) if e >= 5]
    rare = sum(counts) - sum(c for c, _ in cells), sum(expected) - sum(e for _, e in cells)
    cells += [rare] if rare[1] >= 5 else []
    statistic = sum((c - e) ** 2 / e for c, e in cells)
    freedom = len(cells) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("temperature", [0.9, 2.0])
def test_tokens_are_drawn_from_the_softmax_over_the_whole_vocabulary(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, temperature: float
) -> None:
    """5,000 samples of one token, although the model's own settings ask for the best three only."""
    model.generation_config = GenerationConfig(do_sample=True, top_k=3, top_p=0.5)
    requests = drawn("w1 w2", 1, temperature=temperature, index=4999)
    answers = answer(model, tokenizer, requests, batch_tokens=4000)
    words = Counter(answers.text(request) for request in requests)
    with torch.no_grad():
        logits = model.eval()(torch.tensor([[0, 4, 5]])).logits[0, -1]
    shares = (logits / temperature).softmax(0)
    counts = [words[tokenizer.decode([token])] for token in range(3, 63)]
    expected = [5000 * float(shares[token]) for token in range(3, 63)]
    specials = 5000 - sum(counts), 5000 - sum(expected)
    assert abs(excess([*counts, specials[0]], [*expected, specials[1]])) < 4
    assert max(expected) / 5000 < 0.5


def test_positions_prompts_and_samples_are_independent_of_each_other() -> None:
    """Joint frequencies of two positions, and of two samples, are products of softmax's."""
    requests = drawn("p", 9, temperature=1.0, index=7999)
    logits = torch.tensor([[0.0, 1.0, 2.0]]).repeat(8000, 1)
    noise = GumbelMax(requests)
    first, second = (noise(torch.zeros(8000, 1).long(), logits).argmax(1) for _ in range(2))
    shares = logits[0].softmax(0)
    for one, other in ((first, second), (first[:-1], first[1:])):
        pairs = torch.bincount(3 * one + other, minlength=9).tolist()
        expected = [len(one) * float(a * b) for a in shares for b in shares]
        assert abs(excess(pairs, expected)) < 4


def test_a_temperature_near_zero_is_greedy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    cold = [drawn(prompt, 12, temperature=1e-6)[0] for prompt in PROMPTS]
    greedy = [Continue(prompt, 12) for prompt in PROMPTS]
    answers = answer(model, tokenizer, [*cold, *greedy], batch_tokens=1000)
    for one, other in zip(cold, greedy, strict=True):
        assert answers.text(one) == answers.text(other)


@pytest.mark.parametrize("batch_tokens", [1, 60, 100_000])
def test_the_batch_changes_no_sample_and_no_greedy_neighbour(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, batch_tokens: int
) -> None:
    sampled = [
        request for prompt in PROMPTS for request in drawn(prompt, 10, temperature=1.5, index=1)
    ]
    greedy = [Continue(prompt, 10) for prompt in PROMPTS]
    together = answer(model, tokenizer, [*sampled, *greedy], batch_tokens=batch_tokens)
    for request in [*sampled, *greedy]:
        alone = answer(model, tokenizer, [request], batch_tokens=1)
        assert together.text(request) == alone.text(request)
    assert len({together.text(request) for request in sampled}) == len(sampled)


def test_seeds_and_indices_give_other_samples(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    requests = [
        Continue("w1", 12, Sampling(temperature=1.0, seed=seed, index=index))
        for seed, index in ((0, 0), (1, 0), (0, 1), (2**40, 0))
    ]
    answers = answer(model, tokenizer, requests, batch_tokens=1000)
    assert len({answers.text(request) for request in requests}) == 4


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_refuses_a_temperature_that_is_none(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"temperature={temperature}: .*above 0.* null"):
        Sampling(temperature=temperature, seed=0, index=0)
