"""lm-eval's own tasks on local data, against a plain loop over the model's log-probabilities."""

import contextlib
import copy
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluate import harness_data
from tests.evaluate.harness_data import LETTERS, SUBJECT
from unlearn_lab.evaluate.harness import HarnessTask
from unlearn_lab.evaluate.harness_model import as_harness_model, quietly, reproducibly

lm_eval = pytest.importorskip("lm_eval")
Instance = pytest.importorskip("lm_eval.api.instance").Instance

SETTINGS = {"num_fewshot": None, "limit": None, "seed": 0, "revision": None}


@pytest.fixture(scope="module")
def tokenizer():
    return harness_data.ascii_tokenizer()


@pytest.fixture(scope="module")
def model():
    return harness_data.wide_llama()


@pytest.fixture(scope="module")
def mmlu(tmp_path_factory):
    return harness_data.write_mmlu(tmp_path_factory.mktemp("mmlu"))


def algebra(folder, **settings):
    settings = {**SETTINGS, **settings}
    return HarnessTask(task=f"mmlu_{SUBJECT}", metric="acc", data=str(folder), **settings)


def next_log_probabilities(model, tokenizer, text):
    with torch.no_grad():
        tokens = torch.tensor([tokenizer(text)["input_ids"]])
        return model(tokens).logits[0].float().log_softmax(-1), tokens[0]


def log_likelihood(model, tokenizer, context, answer):
    found, tokens = next_log_probabilities(model, tokenizer, context + answer)
    start = len(tokenizer(context)["input_ids"])
    return sum(found[place - 1, tokens[place]].item() for place in range(start, len(tokens)))


def shown(row):
    choices = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(LETTERS, row["choices"], strict=True)
    )
    return f"{row['question']}\n{choices}\nAnswer:"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shots", [0, 5])
def test_mmlu_is_the_likeliest_letter(model, tokenizer, mmlu, shots, dtype):
    model = copy.deepcopy(model).to(dtype)
    score = algebra(mmlu, num_fewshot=shots).measure(model, tokenizer, 1)
    head = "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
    for row in harness_data.rows_of(mmlu, SUBJECT, "dev")[:shots]:
        head += f"{shown(row)} {LETTERS[row['answer']]}\n\n"
    rows = harness_data.rows_of(mmlu, SUBJECT, "test")
    for row, item in zip(rows, score.items, strict=True):
        likely = [
            log_likelihood(model, tokenizer, head + shown(row), f" {letter}") for letter in LETTERS
        ]
        chosen, true = LETTERS[int(np.argmax(likely))], LETTERS[row["answer"]]
        assert (item["question"], item["answer"], item["true"]) == (shown(row), chosen, true)
        assert item["score"] == 100.0 * (chosen == true)
    assert score.value == np.mean(score.per_item)
    assert score.low <= score.value <= score.high
    assert len({item["answer"] for item in score.items}) > 1


def test_log_likelihoods_are_float32_in_a_bfloat16_model(model, tokenizer):
    """In bfloat16, with its 8 bits of precision, those of different answers often tie."""
    half = copy.deepcopy(model).bfloat16()
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=("who is it?\nA:", letter), idx=0)
        for letter in LETTERS
    ]
    with torch.no_grad(), quietly():
        found = [value for value, _ in as_harness_model(half, tokenizer, 64).loglikelihood(asked)]
    assert all(torch.tensor(value).bfloat16().item() != value for value in found)


def test_truthfulqa_is_the_share_of_likeliest_answers_that_are_true(model, tokenizer, tmp_path):
    folder = harness_data.write_truthfulqa(tmp_path)
    task = HarnessTask(task="truthfulqa_mc1", metric="acc", data=str(folder), **SETTINGS)
    score = task.measure(model, tokenizer, 4096)
    rows = harness_data.rows_of(folder, "multiple_choice", "validation")
    for row, item in zip(rows, score.items, strict=True):
        choices = row["mc1_targets"]["choices"]
        assert item["question"].endswith(f"Q: {row['question']}\nA:")
        likely = [
            log_likelihood(model, tokenizer, item["question"], f" {choice}") for choice in choices
        ]
        assert (item["answer"], item["true"]) == (choices[int(np.argmax(likely))], choices[0])
        assert item["score"] == 100.0 * (item["answer"] == item["true"])
    assert set(score.per_item) == {0.0, 100.0}


def greedy(model, tokenizer, prompt):
    text = prompt
    for _ in range(256):
        found, _ = next_log_probabilities(model, tokenizer, text)
        text += tokenizer.decode([int(found[-1].argmax())])
        if text.endswith(("\n", ".", ",", "</s>")):
            break
    return text.removeprefix(prompt)


def test_triviaqa_is_exact_match_of_the_greedy_answer(model, tokenizer, tmp_path):
    """Every other question is given the model's own answer; two end at EOS, before the others."""
    questions = ["what is seven", "who was cat", "where is rome", "how"]
    own = [greedy(model, tokenizer, f"Question: {question}?\nAnswer:") for question in questions]
    assert sum(answer.endswith("</s>") for answer in own) == 2
    known = [answer.removesuffix("</s>").replace("<s>", "").strip("\n., ") for answer in own]
    answers = {q: known[index] if index % 2 else "none" for index, q in enumerate(questions)}
    folder = harness_data.write_triviaqa(tmp_path, answers)
    task = HarnessTask(task="triviaqa", metric="exact_match", data=str(folder), **SETTINGS)
    score = task.measure(model, tokenizer, 16384)
    assert score.per_item == (0.0, 100.0, 0.0, 100.0)
    assert [item["answer"] for item in score.items] == known
    assert task.measure(model, tokenizer, 1) == score


@pytest.mark.slow
def test_mmlu_has_three_items_of_57_subjects(model, tokenizer, tmp_path):
    """RWKU's 171 items are as many of each subject."""
    tasks = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    subjects = [path.stem.removeprefix("mmlu_") for path in tasks.glob("mmlu_*.yaml")]
    folder = harness_data.write_mmlu(tmp_path, subjects, num_test=4)
    gen = replace(algebra(folder, limit=3), task="mmlu")
    score = gen.measure(model, tokenizer, 16384)
    drawn = [str(item["item"]).removeprefix("mmlu_").split("/") for item in score.items]
    assert {subject for subject, _ in drawn} == set(subjects)
    assert len(score.per_item) == len({tuple(item) for item in drawn}) == 171
    assert score.value == np.mean(score.per_item)
    for (subject, index), item in list(zip(drawn, score.items, strict=True))[::40]:
        row = harness_data.rows_of(folder, subject, "test")[int(index)]
        assert (item["question"], item["true"]) == (shown(row), LETTERS[row["answer"]])


def test_items_and_examples_are_drawn_by_the_seed(model, tokenizer, tmp_path):
    answers = {words: words.upper() for words in ("a", "b", "c", "d", "e", "f")}
    folder = harness_data.write_triviaqa(tmp_path, answers)
    task = HarnessTask(
        **{**SETTINGS, "num_fewshot": 2, "limit": 3},
        **{"task": "triviaqa", "metric": "exact_match", "data": str(folder)},
    )
    score = task.measure(model, tokenizer, 16384)
    assert len(score.per_item) == 3
    assert task.measure(model, tokenizer, 16384) == score
    assert replace(task, seed=1).measure(model, tokenizer, 16384).items != score.items


def test_a_folder_is_read_anew_whatever_was_read_under_its_name(model, tokenizer, tmp_path):
    """The cache of `datasets` tells folders with a card apart by their last name only."""
    asked = []
    for seed, parent in enumerate(("mine", "yours")):
        folder = harness_data.write_mmlu(tmp_path / parent / "mmlu", seed=seed)
        items = algebra(folder).measure(model, tokenizer, 4096).items
        rows = harness_data.rows_of(folder, SUBJECT, "test")
        assert [item["question"] for item in items] == [shown(row) for row in rows]
        asked.append([item["question"] for item in items])
    assert asked[0] != asked[1]


def test_offline_a_hub_name_is_read_from_the_hubs_cache(model, tokenizer, tmp_path, monkeypatch):
    commit, stored = "c" * 40, tmp_path / "datasets--cais--mmlu"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(commit)
    folder = harness_data.write_mmlu(stored / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    items = algebra("cais/mmlu", revision=commit).measure(model, tokenizer, 4096).items
    rows = harness_data.rows_of(folder, SUBJECT, "test")
    assert [item["question"] for item in items] == [shown(row) for row in rows]
    assert {item["data"] for item in items} == {f"cais/mmlu@{commit}"}


def test_leaves_the_model_and_the_tokenizer_alone_and_is_quiet(model, tokenizer, mmlu, capfd):
    used = copy.deepcopy(model).train()
    settings = used.generation_config
    algebra(mmlu).measure(used, tokenizer, 4096)
    assert used.training
    assert used.generation_config is settings
    after = used.state_dict()
    assert all(torch.equal(values, after[name]) for name, values in model.state_dict().items())
    assert tokenizer.pad_token is None
    assert capfd.readouterr() == ("", "")


def test_random_states_are_put_back_even_after_an_error():
    """Not through `measure`: the checks of shapes that tests switch on draw from `random`."""
    states = random.getstate(), torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with contextlib.suppress(KeyError), reproducibly(3):
            drawn.append((random.random(), torch.rand(1).item()))
            raise KeyError
    assert drawn[0] == drawn[1]
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
