"""A job in this process, so that its shapes are checked on the way: every builder, once."""

import dataclasses
import functools
import json
import re

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.graph.builders import QUICK
from unlearn_lab.config.build import Refused
from unlearn_lab.data.batch import PairedOrder
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.data.tokenise import encode
from unlearn_lab.evaluate import stored_scores
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.stop import Forgotten, UtilityFloor
from unlearn_lab.execute.job import describe, request, run
from unlearn_lab.graph.active_uses import ActiveUses
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.record import results
from unlearn_lab.record.side_files import read_sides
from unlearn_lab.unlearn.optimizers.mask import read_mask
from unlearn_lab.unlearn.training.stop import StopContext

CHOICES = {"model": "tiny", "dataset": "gazette", "method": "m", "optimizer": "adamw", "quant": "q"}

forgotten = functools.partial(Forgotten, utility="utility")


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
        ("method=npo_gdr", "optimizer=sure", "quant=none", "optimizer.refresh_steps=1"),
        ("method=ga", "optimizer=sure_released", "quant=none", "optimizer.masked=true"),
        ("method=ga", "quant=none", "trainer.weights=bf16_sr", "trainer/stop=forgotten"),
        *(
            pytest.param(further, marks=pytest.mark.slow)
            for further in (
                ("method=npo_muse_klr", "quant=bf16", "method.retain.variant=raw_logits"),
                ("method=npo_gdr", "optimizer=sure", "quant=none", "trainer.weights=bf16_sr"),
            )
        ),
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


def test_the_mask_of_sure_holds_in_the_saved_model(ask, home):
    """The artifact's mask, against the target as it was held: what is masked has its bits."""
    asked = ask("method=npo_gdr", "optimizer=sure", "quant=rtn4", "optimizer.percentile=75")
    record = run(asked).record
    folder = home / "cache" / "unlearn" / asked.plan.unlearn.key
    mask = read_mask(folder)
    saved = load_model(folder, "bf16").state_dict()
    target = load_model(home / "cache" / "target" / record["stages.target"], "bf16").state_dict()
    kept_weights = moved = total = 0
    for name, kept in mask.items():
        differs = saved[name] != target[name]
        assert not differs[~kept].any()
        kept_weights += int(kept.sum()) * saved[name][0].numel()
        moved, total = moved + int(differs.sum()), total + saved[name].numel()
    assert moved > 0.5 * kept_weights
    assert record["codes.moved"] == pytest.approx(moved / total)
    assert record["mask.kept_weights"] == pytest.approx(kept_weights / total)
    assert record["mask.kept"] == pytest.approx(0.25, abs=0.02)
    assert record["effective.optimizer"] == "AdamW"
    sides = read_sides(home, record)
    assert sides.mask == {name: pytest.approx(k.float().mean().item()) for name, k in mask.items()}
    assert list(sides.widths) == ["2", "3", "4", "8"]
    flips = {name: figures["flip_rate"] for name, figures in sides.layers.items()}
    assert {name: f["flip_rate"] for name, f in sides.widths["4"].items()} == flips


def test_the_saliency_stage_scores_rows_by_the_forget_gradient_at_the_target(ask, home):
    """Against the loss written out: the mean over batches of the token-mean log-likelihood."""
    asked = ask("method=ga_gdr", "optimizer=sure", "quant=none", "trainer.weights=fp32")
    record = run(asked).record
    assert record["seconds.saliency"] >= 0
    folder = home / "cache" / "target" / record["stages.target"]
    target, tokenizer = load_model(folder, "fp32"), load_tokenizer(folder)
    place = home / "cache" / "corpus" / asked.plan.corpora.whole.key
    texts = json.loads((place / "corpus.json").read_text())["forget"]
    size = asked.values.config["trainer"]["batch_size"]
    order = [i for (i,) in PairedOrder([len(texts)], 0, "reshuffled")]
    for start in range(0, len(texts), size):
        losses = []
        for i in order[start : start + size]:
            ids = encode([texts[i]], tokenizer, asked.values.config["trainer"]["max_length"])[0]
            logs = target(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
            losses.append(logs.gather(1, ids[1:, None]).squeeze(1))
        (torch.cat(losses).mean() / -(-len(texts) // size)).backward()
    stage = asked.plan.unlearn.inputs["saliency"]
    scores = load_file(home / "cache" / "saliency" / stage.key / "saliency.safetensors")
    assert len(scores) == 14
    for name, found in scores.items():
        wanted = target.get_parameter(name).grad.norm(dim=1)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "state", "can_all_move"),
    [("fp32", "float32", None), ("bf16", "bfloat16", False), ("bf16_sr", "float32", True)],
)
def test_the_record_says_what_the_weights_could_do(ask, weights, state, can_all_move):
    record = run(ask("method=ga", "quant=none", f"trainer.weights={weights}")).record
    assert record["effective.weights"] == weights
    assert record["effective.optimizer_state"] == state
    assert 0 < record["effective.moved"] < 1
    assert record["effective.moved"] < record["codes.moved"]
    for name in ("effective.cannot_move", "codes.cannot_move"):
        if can_all_move is None:
            assert record[name] is None
        else:
            assert (record[name] == 0) == can_all_move


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

    monkeypatch.setattr("unlearn_lab.execute.job.results.append", full)
    outcome = run(ask("method=ga", "quant=none"))
    assert "No space left" in outcome.failure


def test_a_running_job_keeps_all_that_it_stands_on_from_being_pruned(ask, home, monkeypatch):
    append, held = results.append, set()

    def look_first(home_, record):
        held.update(ActiveUses(home / "cache", QUICK).holders())
        return append(home_, record)

    monkeypatch.setattr("unlearn_lab.execute.job.results.append", look_first)
    asked = ask("method=ga", "quant=none")
    run(asked)
    assert held == {stage.key for stage in asked.plan.record.walk()}
    assert list((home / "cache" / "leases").iterdir()) == []


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
        (("trainer.stop=muse",), "must be StopRule; choose it by trainer/stop=muse"),
    ],
)
def test_refusals(ask, overrides, message):
    small_model = () if "model=hf" in overrides else SMALL_MODEL
    with pytest.raises(Refused) as refusal:
        ask(*overrides, small_model=small_model)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_stage_in_words(ask):
    evaluated = [s for s in ask("quant=rtn4").plan.record.walk() if s.name == "evaluate"]
    words = {describe(stage).rsplit(" ", 1)[0] for stage in evaluated}
    assert "evaluate unlearn (RTN 4 bits)" in words
    assert "evaluate retrain (NoQuantizer)" in words


def watched(folder, inputs, runtime):
    model, tokenizer = load_model(folder, "fp32"), load_tokenizer(folder)
    return StopContext(model=model, tokenizer=tokenizer, inputs=inputs, runtime=runtime)


@pytest.fixture
def control(tmp_path):
    """A retrain control whose scores are all 50."""
    score = Score(value=50.0, low=0.0, high=100.0, per_item=(50.0,), items=({"answer": "a"},))
    greedy = {"temperature": None, "num_samples": 1, "seed": 0}
    known, words = "unlearn_lab.evaluate.knowmem.KnowMem", {"num_tokens": 2, "answer_cue": "A:"}
    metrics = {
        "utility": {"_target_": known, "split": "retain", **words},
        "knowmem": {"_target_": known, "split": "forget", **words},
        "verbmem": {"_target_": "unlearn_lab.evaluate.verbmem.VerbMem", "num_tokens": 2, **greedy},
    }
    (tmp_path / stored_scores.SCORES).write_text(json.dumps(dict.fromkeys(metrics, vars(score))))
    stage = Stage(name="e", builder="b", version=1, params={"metrics": metrics})
    return Artifact(stage=stage, path=tmp_path, facts={}, seconds=0.0, built_now=False)


def observed(control, asked, home):
    """The inputs of a training that a rule on scores observes."""
    place = home / "cache" / "corpus" / asked.plan.corpora.whole.key
    corpus = dataclasses.replace(control, stage=asked.plan.corpora.whole, path=place)
    return {"corpus": corpus, "retrain_scores": control}


def test_the_stop_rule_asks_every_few_epochs_and_gives_its_reason(ask, composed, home, control):
    asked = ask("method=ga", "quant=none")
    record = run(asked).record
    folder = home / "cache" / "target" / record["stages.target"]
    inputs = observed(control, asked, home)
    assert isinstance(read_corpus(inputs["corpus"]), Corpus)
    rule = UtilityFloor(share=1.0, utility="utility", every_epochs=2)
    ask_rule = rule.watch(watched(folder, inputs, asked.values.runtime))
    assert ask_rule(1) is None
    assert re.match(r"utility 0\.0 .*below 50\.0 .*epoch 2$", ask_rule(2))
    control.stage.params["metrics"].clear()
    with pytest.raises(ValueError, match=r"needs eval\.metrics\.utility"):
        rule.watch(watched(folder, inputs, asked.values.runtime))


@pytest.mark.parametrize(
    ("margin", "utility_share", "reason"),
    [
        (0.0, 0.0, "forgotten in epoch 2: verbmem 0.0, knowmem 0.0"),
        (0.0, 0.5, None),
    ],
)
def test_forgotten_asks_for_memory_at_the_controls_level_and_for_utility(
    ask, home, control, margin, utility_share, reason
):
    """An untrained model remembers nothing and is of no use."""
    asked = ask("method=ga", "quant=none")
    folder = home / "cache" / "target" / run(asked).record["stages.target"]
    inputs = observed(control, asked, home)
    rule = forgotten(
        memories=("verbmem", "knowmem"), margin=margin, utility_share=utility_share, every_epochs=2
    )
    asks = rule.watch(watched(folder, inputs, asked.values.runtime))
    assert asks(1) is None
    assert asks(2) == reason


def test_forgotten_goes_on_while_the_model_remembers_more(ask, home, control):
    asked = ask("method=ga", "quant=none")
    folder = home / "cache" / "target" / run(asked).record["stages.target"]
    rows = json.loads((control.path / stored_scores.SCORES).read_text())
    rows["knowmem"]["value"] = -1.0
    (control.path / stored_scores.SCORES).write_text(json.dumps(rows))
    inputs = observed(control, asked, home)
    rule = forgotten(memories=("knowmem",), margin=0.0, utility_share=0.0, every_epochs=1)
    asks = rule.watch(watched(folder, inputs, asked.values.runtime))
    assert asks(1) is None
