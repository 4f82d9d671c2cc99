"""What cannot be measured is refused in one line, in place of a number."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from tests.evaluate import harness_data
from unlearn_lab.config import libraries
from unlearn_lab.evaluate.harness import HarnessTask

pytest.importorskip("lm_eval")

TASK = HarnessTask(
    task="mmlu_abstract_algebra",
    metric="acc",
    num_fewshot=None,
    limit=None,
    seed=0,
    data="cais/mmlu",
    revision=None,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of 3000 positions, where a character is a token."""
    folder = tmp_path_factory.mktemp("checkpoint")
    harness_data.wide_llama(positions=3000).save_pretrained(folder)
    harness_data.ascii_tokenizer().save_pretrained(folder)
    return folder


def test_impossible_numbers():
    with pytest.raises(ValueError, match=r"num_fewshot=-1: .*at least 0.* null"):
        replace(TASK, num_fewshot=-1)
    with pytest.raises(ValueError, match=r"limit=0: .*at least 1.* null"):
        replace(TASK, limit=0)


def test_a_missing_library(monkeypatch):
    def version(library):
        raise PackageNotFoundError(library)

    monkeypatch.setattr(libraries, "version", version)
    for call in (
        lambda: TASK.require_fit(Path()),
        lambda: TASK.measure(harness_data.wide_llama(), harness_data.ascii_tokenizer(), 1),
    ):
        with pytest.raises(ValueError, match=r"needs the library lm-eval.*\.\[utility\]"):
            call()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = harness_data.write_mmlu(tmp_path_factory.mktemp("mmlu"))
    return replace(TASK, data=str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"task": "mmlu_abstract_algebr"},
            "task=mmlu_abstract_algebr: .* one of mmlu_abstract_alg",
        ),
        ({"task": "qqqqqqq"}, "task=qqqqqqq: .*no such task.* `lm_eval ls tasks`"),
        ({"metric": "f1"}, "metric=f1: .*a mean .*mmlu_abstract_algebra: acc"),
        ({"metric": "acc,strict"}, "metric=acc,strict: mmlu_abstract_algebra has acc,none"),
        ({"task": "truthfulqa_mc1"}, "data=.*: .*truthfulqa_mc1 cannot be loaded"),
    ],
)
def test_what_the_library_does_not_have(local, checkpoint, change, message):
    with pytest.raises(ValueError, match=message):
        replace(local, **change).require_fit(checkpoint)


def test_data_that_is_not_there(checkpoint):
    with pytest.raises(ValueError, match=r"data=cais/mmlu: .* hf download --repo-type dataset"):
        TASK.require_fit(checkpoint)


def test_examples_for_a_task_that_has_its_own(checkpoint, tmp_path):
    folder = harness_data.write_truthfulqa(tmp_path)
    task = replace(TASK, task="truthfulqa_mc1", data=str(folder), num_fewshot=3)
    with pytest.raises(ValueError, match="num_fewshot=3: truthfulqa_mc1 has its own examples"):
        task.require_fit(checkpoint)
    replace(task, num_fewshot=None).require_fit(checkpoint)


def test_prompts_longer_than_the_model(local, tmp_path):
    model, tokenizer = harness_data.wide_llama(positions=200), harness_data.ascii_tokenizer()
    with pytest.raises(ValueError, match=r"num_fewshot: .* tokens.* 200 positions"):
        replace(local, num_fewshot=5).measure(model, tokenizer, 4096)
    folder = harness_data.write_triviaqa(tmp_path, {"who": "me"})
    trivia = replace(TASK, task="triviaqa", metric="exact_match", data=str(folder))
    with pytest.raises(ValueError, match=r"num_fewshot: .* 278 tokens.* 200 positions"):
        trivia.measure(model, tokenizer, 4096)


def test_prompts_that_would_be_too_long_once_the_model_is_there(local, checkpoint, tmp_path):
    fits = replace(local, num_fewshot=5)
    fits.require_fit(checkpoint)
    model = harness_data.wide_llama(positions=200)
    model.save_pretrained(tmp_path)
    harness_data.ascii_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"num_fewshot: .* tokens.* 200 positions") as fit:
        fits.require_fit(tmp_path)
    with pytest.raises(ValueError, match=r"num_fewshot: ") as run:
        fits.measure(model, harness_data.ascii_tokenizer(), 4096)
    assert str(fit.value) == str(run.value)


@pytest.mark.parametrize("task", ["truthfulqa_mc1", "triviaqa"])
def test_a_model_whose_logits_are_nan(tmp_path, task):
    """lm-eval would call each of TruthfulQA's true answers the likeliest: a score of 100."""
    model, tokenizer = harness_data.wide_llama(), harness_data.ascii_tokenizer()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    harness_data.write_truthfulqa(tmp_path / "truthful")
    harness_data.write_triviaqa(tmp_path / "trivia", {"who": "me"})
    folder, metric = ("truthful", "acc") if "truth" in task else ("trivia", "exact_match")
    broken = replace(TASK, task=task, metric=metric, data=str(tmp_path / folder))
    with pytest.raises(ValueError, match=r"NaN: .*not finite"):
        broken.measure(model, tokenizer, 4096)
