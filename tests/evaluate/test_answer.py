"""The batched engine against answers computed one at a time by hand."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.metric import Answers, Continue, LogLikelihood, ModelQuery

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]


def sentences(num: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    lengths = [generator.randint(1, 20) for _ in range(num)]
    return [" ".join(f"w{generator.randrange(60)}" for _ in range(n)) for n in lengths]


def greedy_by_hand(model: LlamaForCausalLM, tokens: list[int], num_new: int) -> list[int]:
    grown = list(tokens)
    for _ in range(num_new):
        grown.append(int(model(torch.tensor([grown])).logits[0, -1].argmax()))
        if grown[-1] == 1:
            return grown[len(tokens) : -1]
    return grown[len(tokens) :]


def log_probabilities_by_hand(model: LlamaForCausalLM, tokens: list[int]) -> list[float]:
    logits = model(torch.tensor([tokens])).logits[0].double().detach()
    return [
        float(torch.log_softmax(logits[position], 0)[tokens[position + 1]])
        for position in range(len(tokens) - 1)
    ]


@contextmanager
def counting_forwards(model: LlamaForCausalLM) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of the token batches that the model sees."""
    shapes: list[tuple[int, ...]] = []

    def note(_module: object, _args: object, kwargs: dict[str, Tensor]) -> None:
        shapes.append(tuple(kwargs["input_ids"].shape))

    handle = model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    yield shapes
    handle.remove()


@pytest.mark.parametrize("batch_tokens", [1, 60, 100_000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_batches_of_any_size_answer_as_one_at_a_time_by_hand(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    batch_tokens: int,
    dtype: torch.dtype,
) -> None:
    torch.nn.Module.to(model, dtype=dtype).eval()
    texts = sentences(9, seed=1)
    requests: list[ModelQuery] = [
        *(Continue(text, 6) for text in texts[:6]),
        *(Continue(text, 11) for text in texts[4:]),
        *(LogLikelihood(text, 50) for text in texts),
    ]
    answers = answer(model, tokenizer, requests, batch_tokens=batch_tokens)
    distinct = set()
    for request in requests:
        if isinstance(request, Continue):
            tokens = [0, *tokenizer(request.prompt, add_special_tokens=False)["input_ids"]]
            expected = greedy_by_hand(model, tokens, request.num_tokens)
            assert answers.text(request) == tokenizer.decode(expected, skip_special_tokens=True)
            distinct.add(answers.text(request))
        else:
            tokens = [0, *tokenizer(request.text, add_special_tokens=False)["input_ids"]]
            expected = log_probabilities_by_hand(model, tokens)
            got = answers.log_probabilities(request)
            assert got.dtype == torch.float32
            assert got.tolist() == pytest.approx(expected, abs=1e-4, rel=1e-5)
    assert len(distinct) > 5


def test_every_token_is_scored_the_last_included(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    asked = LogLikelihood("w1 w2 w3", 50)
    other = LogLikelihood("w1 w2 w4", 50)
    answers = answer(model, tokenizer, [asked, other], batch_tokens=100)
    ours, theirs = answers.log_probabilities(asked), answers.log_probabilities(other)
    assert len(ours) == len(theirs) == 3
    assert torch.equal(ours[:2], theirs[:2])
    assert ours[2] != theirs[2]


def test_texts_are_cut_to_num_tokens_after_bos(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    long, short = LogLikelihood("w1 w2 w3", 2), LogLikelihood("w1 w2", 9)
    whole = LogLikelihood("w1 w2 w3", None)
    answers = answer(model, tokenizer, [long, short, whole], batch_tokens=100)
    assert torch.equal(answers.log_probabilities(long), answers.log_probabilities(short))
    assert len(answers.log_probabilities(whole)) == 3


def test_without_bos_the_first_token_is_context(
    model: LlamaForCausalLM, make_tokenizer: MakeTokenizer
) -> None:
    asked = LogLikelihood("w1 w2 w3", 50)
    answers = answer(model, make_tokenizer(), [asked], batch_tokens=100)
    expected = log_probabilities_by_hand(model, [4, 5, 6])
    assert answers.log_probabilities(asked).tolist() == pytest.approx(expected, rel=1e-5)


def test_equal_requests_are_answered_once(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    requests = [LogLikelihood("w1 w2", 9), LogLikelihood("w1 w2", 9)]
    with counting_forwards(model) as shapes:
        answers = answer(model, tokenizer, requests, batch_tokens=1000)
    assert shapes == [(1, 3)] * 3  # the first two decide whether the head is plain
    assert len(answers.scored) == 1


def test_batches_hold_at_most_the_allowed_tokens_longest_first(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Lengths with BOS 3, 5, 4, 2 within 10 tokens: (5, 4), then (3, 2)."""
    texts = ["w1 w2", "w1 w2 w3 w4", "w1 w2 w3", "w1"]
    with counting_forwards(model) as shapes:
        answer(model, tokenizer, [LogLikelihood(text, 9) for text in texts], batch_tokens=10)
    assert shapes[2:] == [(2, 5), (2, 3)]  # the first two decide whether the head is plain


def test_new_tokens_count_towards_the_batch(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Two prompts of 3 tokens and 2 new ones need 10 tokens: 9 are too few for one batch."""
    requests = [Continue("w1 w2", 2), Continue("w3 w4", 2)]
    for batch_tokens, first in ((9, (1, 3)), (10, (2, 3))):
        with counting_forwards(model) as shapes:
            answer(model, tokenizer, requests, batch_tokens=batch_tokens)
        assert shapes[0] == first


def test_eos_ends_one_text_and_leaves_its_neighbour_alone(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, make_tokenizer: MakeTokenizer
) -> None:
    """The EOS is a word that the first prompt's text has and the second one's has not."""
    requests = [Continue("w1 w2", 12), Continue("w9", 12)]
    free = answer(model, tokenizer, requests, batch_tokens=1000)
    first, second = (free.text(request).split() for request in requests)
    end = next(word for word in first[1:] if word not in second)
    stopping = make_tokenizer(bos_token="<s>", eos_token=end)
    stopped = answer(model, stopping, requests, batch_tokens=1000)
    assert stopped.text(requests[0]).split() == first[: first.index(end)]
    assert stopped.text(requests[1]).split() == second


def test_a_tokenizer_without_eos_never_stops(
    model: LlamaForCausalLM, make_tokenizer: MakeTokenizer
) -> None:
    asked = Continue("w1", 12)
    assert len(answer(model, make_tokenizer(), [asked], batch_tokens=99).text(asked).split()) == 12


def test_the_models_own_generation_settings_do_not_matter_and_are_left_alone(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    asked = Continue("w1 w2", 8)
    plain = answer(model, tokenizer, [asked], batch_tokens=99).text(asked)
    first = tokenizer.convert_tokens_to_ids(plain.split()[0])
    hostile = GenerationConfig(
        repetition_penalty=5.0,
        suppress_tokens=[first],
        eos_token_id=first,
        do_sample=True,
        temperature=9.0,
    )
    before = hostile.to_dict()
    model.generation_config = hostile
    assert answer(model, tokenizer, [asked], batch_tokens=99).text(asked) == plain
    assert model.generation_config is hostile
    assert hostile.to_dict() == before


@pytest.mark.parametrize("fails", [False, True])
def test_every_modules_mode_is_restored(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, fails: bool
) -> None:
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    seen = []
    model.model.layers[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    if fails:
        model.lm_head.weight.data.fill_(torch.nan)
        with pytest.raises(ValueError, match="NaN"):
            answer(model, tokenizer, [Continue("w1", 2)], batch_tokens=99)
    else:
        answer(model, tokenizer, [Continue("w1", 2)], batch_tokens=99)
    assert seen
    assert not any(seen)
    assert [module.training for module in model.modules()] == modes


def test_truncate_counts_tokens_and_refuses_special_ones(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    answers: Answers = answer(model, tokenizer, [], batch_tokens=1)
    assert answers.truncate("w1 w2  w3", 2) == "w1 w2"
    with pytest.raises(ValueError, match=r"'w1 </s> w3' contains '</s>', .*tokenizer"):
        answers.truncate("w1 </s> w3", 3)
    with pytest.raises(KeyError):
        answers.text(Continue("w1", 1))


def test_nan_log_probabilities_are_refused(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    model.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite for 'w1 w2'"):
        answer(model, tokenizer, [LogLikelihood("w1 w2", 9)], batch_tokens=99)


@pytest.mark.parametrize(
    ("requests", "batch_tokens", "message"),
    [
        ([], 0, "batch_tokens=0: must be at least 1"),
        ([Continue("w1", 0)], 9, "num_tokens=0: must be at least 1"),
        ([LogLikelihood("w1", 0)], 9, "num_tokens=0: must be at least 1"),
        ([LogLikelihood(" ", 9)], 9, "no token to score"),
        ([Continue("w1 w2", 62)], 9, "3 tokens and wants 62 .* 64 positions, so at most 2"),
        ([LogLikelihood("w1 " * 64, 99)], 9, "65 tokens and wants 0 .* so at most 64"),
    ],
)
def test_impossible_requests_are_refused(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    requests: Sequence[ModelQuery],
    batch_tokens: int,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        answer(model, tokenizer, requests, batch_tokens=batch_tokens)


def test_requests_that_just_fit_are_answered(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    requests = [Continue("w1 w2", 61), LogLikelihood("w1 " * 63, 99)]
    answers = answer(model, tokenizer, requests, batch_tokens=9)
    assert len(answers.log_probabilities(LogLikelihood("w1 " * 63, 99))) == 63


def test_an_empty_prompt_needs_a_bos(
    model: LlamaForCausalLM, make_tokenizer: MakeTokenizer
) -> None:
    with pytest.raises(ValueError, match="no BOS token"):
        answer(model, make_tokenizer(), [Continue("", 2)], batch_tokens=9)
    with_bos = answer(model, make_tokenizer(bos_token="<s>"), [Continue("", 2)], batch_tokens=9)
    assert len(with_bos.text(Continue("", 2)).split()) == 2


def test_a_model_that_cannot_generate_is_refused(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    classifier = LlamaForSequenceClassification(model.config)
    with pytest.raises(ValueError, match="LlamaForSequenceClassification cannot generate"):
        answer(classifier, tokenizer, [Continue("w1", 2)], batch_tokens=9)
