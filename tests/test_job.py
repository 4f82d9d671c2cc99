"""A job in this process, so that its shapes are checked on the way: every builder, once."""

import dataclasses
import json

import pytest
import torch

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from unlearn_lab.build import Refused
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stage import read as read_corpus
from unlearn_lab.evaluate import stage as evaluations
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.stop import UtilityFloor
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage
from unlearn_lab.job import describe, request, run
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.settings import Runtime

CHOICES = {"model": "tiny", "dataset": "gazette", "method": "m", "optimizer": "adamw", "quant": "q"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture
def ask(composed, home):
    def make(*overrides, small_model=SMALL_MODEL):
        return request(composed(*SMALL, *small_model, f"runtime.home={home}", *overrides), CHOICES)

    return make


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=npo_klr", "quant=rtn4", "trainer.trainable=all"),
        ("method=ga_gdr", "quant=none", "trainer.weights=fp32", "trainer/stop=utility"),
        ("method=ga_klr", "quant=bf16", "trainer.weights=fp32"),
    ],
)
def test_a_job_ends_with_a_record(ask, home, overrides):
    asked = ask(*overrides)
    outcome = run(asked)
    assert outcome.failure is None
    assert outcome.record["run_id"] == asked.plan.record.key
    assert {*outcome.built, *outcome.reused} == {stage.key for stage in asked.plan.record.walk()}
    lines = (home / "results" / "records.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]) == json.loads(json.dumps(outcome.record))
    unlearned = home / "cache" / "unlearn" / asked.plan.unlearn.key
    whole = load_model(unlearned, "fp32")
    assert all(torch.isfinite(p).all() for p in whole.parameters())
    assert load_tokenizer(unlearned).bos_token == "<s>"


def test_bf16_unlearning_ends_with_bf16_weights_and_frozen_ones_untouched(ask, home):
    asked = ask("method=ga", "quant=none")
    outcome = run(asked)
    saved = load_model(home / "cache" / "unlearn" / asked.plan.unlearn.key, "fp32").state_dict()
    target = load_model(home / "cache" / "target" / outcome.record["stages.target"], "fp32")
    for name, weight in target.state_dict().items():
        cast = weight.to(torch.bfloat16).float()
        assert torch.equal(saved[name].bfloat16().float(), saved[name])
        inside = "layers." in name and "norm" not in name
        assert inside or torch.equal(saved[name], cast)
    assert outcome.record["codes.moved"] > 0


def test_a_failed_stage_is_told_and_keeps_what_was_built(ask):
    outcome = run(ask("method=ga", "optimizer.lr=1e30"))
    assert outcome.record is None
    assert "became" in outcome.failure
    assert outcome.label == "tiny gazette m adamw q seed=0"


def test_a_home_that_fills_up_while_results_are_kept_fails_the_leaf_only(ask, monkeypatch):
    def full(home, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unlearn_lab.job.results.append", full)
    outcome = run(ask("method=ga", "quant=none"))
    assert "No space left" in outcome.failure


def test_threads_are_set(ask):
    before = torch.get_num_threads()
    run(ask("method=ga", "quant=none", "runtime.threads=1"))
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model=hf",), "model.path: must be given"),
        (("quant.bits=9",), "quant.bits=9"),
        (("runtime.claim_beat=0",), "runtime.claim_beat=0"),
        (("runtime.threads=0",), "runtime.threads=0"),
        (("optimizer.betas=[0.9,${nothing}]",), "nothing"),
        (("trainer.stop=null",), "trainer.stop"),
    ],
)
def test_refusals(ask, overrides, message):
    small_model = () if "model=hf" in overrides else SMALL_MODEL
    with pytest.raises(Refused) as refusal:
        ask(*overrides, small_model=small_model)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_stage_in_words(ask):
    evaluations_ = [s for s in ask("quant=rtn4").plan.record.walk() if s.name == "evaluate"]
    words = {describe(stage).rsplit(" ", 1)[0] for stage in evaluations_}
    assert "evaluate unlearn (RTN 4 bits)" in words
    assert "evaluate retrain (NoQuantizer)" in words


@pytest.fixture
def control(tmp_path):
    """A retrain control whose utility is 50."""
    score = Score(value=50.0, low=0.0, high=100.0, per_item=(50.0,), items=({"answer": "a"},))
    rows = {"utility": dataclasses.asdict(score)}
    (tmp_path / evaluations.FILE).write_text(json.dumps(rows))
    metric = {
        "_target_": "unlearn_lab.evaluate.knowmem.KnowMem",
        "split": "retain",
        "num_tokens": 2,
    }
    stage = Stage(name="e", builder="b", version=1, params={"metrics": {"utility": metric}})
    return Artifact(stage=stage, path=tmp_path, facts={}, seconds=0.0, built_now=False)


def test_the_stop_rule_asks_every_few_epochs_and_gives_its_reason(ask, composed, home, control):
    asked = ask("method=ga", "quant=none")
    record = run(asked).record
    folder = home / "cache" / "target" / record["stages.target"]
    corpus = Artifact(
        stage=asked.plan.corpus,
        path=home / "cache" / "corpus" / asked.plan.corpus.key,
        facts={},
        seconds=0.0,
        built_now=False,
    )
    assert isinstance(read_corpus(corpus), Corpus)
    runtime = Runtime(**{**vars(asked.runtime)})
    rule = UtilityFloor(share=1.0, every_epochs=2)
    inputs = {"corpus": corpus, "retrain_scores": control}
    ask_rule = rule.watch(load_model(folder, "fp32"), load_tokenizer(folder), inputs, runtime)
    assert ask_rule(1) is None
    assert ask_rule(2) == "utility 0.0 fell below 50.0 in epoch 2"
    control.stage.params["metrics"].clear()
    with pytest.raises(ValueError, match=r"needs eval\.metrics\.utility"):
        rule.watch(load_model(folder, "fp32"), load_tokenizer(folder), inputs, runtime)


@pytest.mark.parametrize(
    ("share", "every", "message"), [(0.0, 1, "share=0.0"), (1.0, 0, "every_epochs=0")]
)
def test_an_impossible_stop_rule_is_refused(share, every, message):
    with pytest.raises(ValueError, match=message):
        UtilityFloor(share=share, every_epochs=every)
