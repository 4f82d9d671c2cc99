"""Prompts that begin alike, end at different times or stop early, against one at a time by hand."""

import functools

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    JambaConfig,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
)

from tests.models.families import FAMILIES, SIZES
from unlearn_lab.evaluate import shared_start
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.decode import continue_all
from unlearn_lab.evaluate.metric import Continue, Sampling
from unlearn_lab.evaluate.shared_start import groups

NARROW, WIDE = {"sliding_window": 8}, {"sliding_window": 4096}
MODELS = FAMILIES | {
    "heads": functools.partial(LlamaConfig, **SIZES | {"num_key_value_heads": 4}),
    "window": functools.partial(MistralConfig, **SIZES | NARROW),
    "wide window": functools.partial(MistralConfig, **SIZES | WIDE),
    "wide gemma2": functools.partial(FAMILIES["gemma2"], **WIDE),
    "convolution": functools.partial(
        Lfm2Config, **SIZES, layer_types=["conv", "full_attention"], tie_word_embeddings=False
    ),
    "state and attention": functools.partial(
        JambaConfig,
        **SIZES,
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=1,
        use_mamba_kernels=False,
        mamba_d_state=4,
        mamba_dt_rank=4,
    ),
}
LONG = " ".join(f"w{number}" for number in range(20))
OTHER = " ".join(f"w{number}" for number in range(19, -1, -1))
PROMPTS = [
    Continue(f"{LONG} w3", 9),
    Continue(f"{LONG} w4 w5 w6", 3),
    Continue(f"{LONG} w4 w5 w7 w8", 12),
    Continue(LONG, 1),
    Continue(f"{OTHER} w1", 5),
    Continue(f"{OTHER} w2 w2", 5),
    Continue("w9 w8", 12),
]


@pytest.fixture(params=MODELS, ids=MODELS.keys())
def family(request):
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(MODELS[request.param](), dtype=torch.float64)
    return made.eval()


def by_hand(model, tokenizer, request):
    """Greedy text without a cache; of the end token nothing is shown."""
    ids = [0, *tokenizer(request.prompt, add_special_tokens=False)["input_ids"]]
    new = []
    while len(new) < request.num_tokens:
        new.append(int(model(torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax()))
        if new[-1] == tokenizer.eos_token_id:
            return tokenizer.decode(new[:-1])
    return tokenizer.decode(new)


@pytest.fixture
def eager(monkeypatch):
    """However few tokens are shared, prompts that begin alike are one batch."""
    monkeypatch.setattr(shared_start, "_STEP", 0)


@torch.no_grad()
@pytest.mark.usefixtures("eager")
def test_every_family_continues_as_one_prompt_at_a_time(family, tokenizer):
    found = answer(family, tokenizer, PROMPTS, batch_tokens=10_000)
    for request in PROMPTS:
        assert found.text(request) == by_hand(family, tokenizer, request)
    assert len({found.text(request) for request in PROMPTS}) > 4


@pytest.mark.usefixtures("eager")
def test_common_beginnings_are_run_once(model, tokenizer):
    widths = []
    model.base_model.register_forward_pre_hook(
        lambda _, __, given: widths.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    answer(model, tokenizer, PROMPTS, batch_tokens=10_000)
    # BOS and 20 words less the last, which LONG itself needs; then 4, 3 and the last alone
    assert [shape for shape in widths if shape[1] > 1] == [(1, 20), (4, 5), (1, 21), (2, 2), (1, 3)]


def test_prompts_are_grouped_so_that_most_is_saved():
    start, near, far = list(range(100, 130)), list(range(200, 260)), list(range(300, 360))
    prompts = {
        Continue(str(place), 1): ids
        for place, ids in enumerate(
            (
                [*start, *near, 1],
                [*start, *near, 2],
                [*start, *far, 1],
                [*start, *far, 2],
                [5, 6],
                [7],
            )
        )
    }
    found = [(one.shared, [asked.prompt for asked in one.prompts]) for one in groups(prompts)]
    assert found == [(90, ["0", "1"]), (90, ["2", "3"]), (0, ["4", "5"])]
    long = {Continue(request.prompt, 90): ids for request, ids in prompts.items()}
    assert [(one.shared, len(one.prompts)) for one in groups(long)] == [(0, 6)]
    del long[Continue("4", 90)], long[Continue("5", 90)]
    assert [(one.shared, len(one.prompts)) for one in groups(long)] == [(30, 4)]
    many = {Continue(str(number), 1): [*start, number, *near] for number in range(9)}
    assert [(one.shared, len(one.prompts)) for one in groups(many)] == [(30, 9)]


def test_rows_that_have_ended_leave_the_batch(model, tokenizer):
    rows = []
    model.base_model.register_forward_pre_hook(
        lambda _, __, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    prompts = {Continue(f"w{number}", room): [number] for number, room in enumerate((1, 1, 3, 8))}
    model.config.eos_token_id = None
    tokenizer.eos_token = None
    continue_all(model, tokenizer, prompts, 1000)
    assert rows == [4, 2, 2, 1, 1, 1, 1, 1]


def test_a_stop_string_ends_one_row_and_is_in_its_text(model, tokenizer):
    asked = Continue("w5 w6 w7", 12)
    whole = answer(model, tokenizer, [asked], batch_tokens=100).text(asked)
    stop = whole.split()[3]
    stopping = Continue("w5 w6 w7", 12, stops=("never", stop))
    found = answer(model, tokenizer, [asked, stopping], batch_tokens=100)
    assert found.text(asked) == whole
    assert found.text(stopping) == whole[: whole.index(stop) + len(stop)]


def test_samples_of_one_prompt_are_those_of_each_alone(model, tokenizer):
    drawn = [Sampling(temperature=1.5, seed=0, index=index) for index in range(6)]
    requests = [Continue(LONG, 8, sampling=one) for one in drawn]
    together = answer(model, tokenizer, requests, batch_tokens=10_000)
    alone = [answer(model, tokenizer, [one], batch_tokens=1).text(one) for one in requests]
    assert [together.text(one) for one in requests] == alone
    assert len(set(alone)) > 1


@torch.no_grad()
def test_a_model_with_another_state_continues_one_prompt_at_a_time(tokenizer):
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4)
    model = AutoModelForCausalLM.from_config(config).eval()
    found = answer(model, tokenizer, PROMPTS, batch_tokens=10_000)
    for request in PROMPTS:
        assert found.text(request) == by_hand(model, tokenizer, request)
