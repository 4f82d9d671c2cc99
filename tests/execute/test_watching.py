"""Jobs that are scored while they unlearn: the curve, the same weights, and what the cache has."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from unlearn_lab.config.build import Refused
from unlearn_lab.execute.job import request, run
from unlearn_lab.execute.watching import NOTE, PATH
from unlearn_lab.record.side_files import read_sides
from unlearn_lab.record.verdict import VerdictThresholds
from unlearn_lab.report.notes import notes

CHOICES = {
    "model": "tiny",
    "dataset": "gazette",
    "method": "m",
    "optimizer": "adamw",
    "quant": "rtn4",
    "quant@trainer.watch.quant": "rtn4",
}
WATCHED = ("trainer.watch.every_epochs=1",)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture
def ask(composed, home):
    def make(*overrides):
        settings = (*SMALL, *SMALL_MODEL, f"runtime.home={home}", "quant=rtn4", *overrides)
        return request(composed(*settings), CHOICES)

    return make


def folder(home, asked):
    return home / "cache" / "unlearn" / asked.plan.unlearn.key


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=ga_gdr", "trainer.weights=bf16", "trainer.epochs=3"),
        *(
            pytest.param(further, marks=pytest.mark.slow)
            for further in (
                ("method=npo_gdr", "trainer/adapter=lora", "optimizer.lr=0.01"),
                (
                    "method=npo_klr",
                    "optimizer=sure",
                    "trainer.weights=bf16_sr",
                    "optimizer.lr=0.01",
                ),
                ("method=ga", "trainer.weights=fp32"),
            )
        ),
    ],
)
def test_the_curve_ends_at_the_leaf_and_changes_no_weight(ask, home, overrides):
    asked = ask(*overrides, *WATCHED)
    assert asked.plan.record.key == ask(*overrides).plan.record.key
    record = run(asked).record
    curve = read_sides(home, record).curve
    assert [point.epoch for point in curve.points] == list(range(record["stopped_epoch"] + 1))
    assert curve.quantizer == "rtn4"
    for who, point in (("target", curve.points[0]), ("unlearned", curve.points[-1])):
        for precision in ("full", "quantized"):
            for metric in ("verbmem", "knowmem", "utility"):
                score = record[f"scores.{who}.{precision}.{metric}"]
                assert getattr(point, precision)[metric] == score, (who, precision, metric)
    place = folder(home, asked)
    weights = load_file(place / "model.safetensors")
    shutil.rmtree(place)
    run(ask(*overrides, "until=unlearn"))
    for name, value in load_file(place / "model.safetensors").items():
        assert torch.equal(value, weights[name]), name
    assert not (place / "curve.json").exists()


def test_a_training_without_the_curve_is_reused_and_says_so(ask, home, caplog):
    settings = ("method=ga", "seed=5", "trainer.epochs=1")
    first = run(ask(*settings))
    assert not {"curve", NOTE} & first.record.keys()
    asked = ask(*settings, *WATCHED)
    (said,) = [text for text in caplog.messages if text.startswith("trainer.watch")]
    key = asked.plan.unlearn.key[:8]
    assert f"{key} ran without scores" in said
    assert f"--key {key}" in said
    record = run(asked).record
    assert record[NOTE] == said
    assert "curve" not in record
    thresholds = VerdictThresholds(**dataclasses.asdict(asked.values.report.thresholds))
    assert any(said in note for note in notes([record], thresholds))
    shutil.rmtree(folder(home, asked))  # as the advice says
    run(ask(*settings, *WATCHED, "until=unlearn"))
    again = run(ask(*settings, *WATCHED)).record
    assert NOTE not in again
    assert len(read_sides(home, again).curve.points) == 2
    other = run(ask(*settings, *WATCHED, "trainer.watch.metrics=[knowmem]")).record
    assert "with other settings of its scores" in other[NOTE]
    assert again["curve"] == other["curve"]


@pytest.mark.slow
def test_chosen_metrics_and_no_quantizer(ask, home):
    asked = ask(
        "method=ga",
        "seed=6",
        "trainer.epochs=2",
        "trainer.watch.every_epochs=2",
        "trainer.watch.metrics=[knowmem]",
        "quant@trainer.watch.quant=none",
    )
    found = json.loads((folder(home, asked) / "curve.json").read_text()) if run(asked) else {}
    assert [point["epoch"] for point in found["points"]] == [0, 2]
    assert all(point["full"].keys() == {"knowmem"} for point in found["points"])
    assert all(point["quantized"] == {} for point in found["points"])


@pytest.mark.parametrize(
    ("overrides", "setting", "reason"),
    [
        (("trainer.watch.every_epochs=0",), "trainer.watch.every_epochs=0", "at least 1"),
        ((*WATCHED, "trainer.watch.metrics=[bleu]"), "trainer.watch.metrics", "bleu is none of"),
        ((*WATCHED, "trainer.watch.quant=nf4"), PATH, "by quant@trainer.watch.quant=nf4"),
        ((*WATCHED, "trainer.watch.metrics=[]"), "trainer.watch.metrics=[]", "at least one"),
        (
            (*WATCHED, "quant@trainer.watch.quant=gptq4"),
            "trainer.watch.quant=GPTQ",
            "does not round a model within seconds",
        ),
        (
            (*WATCHED, "trainer.watch.quant.granularity=group", "trainer.watch.quant.group_size=7"),
            "trainer.watch.quant.group_size=7",
            "choose a divisor",
        ),
        (
            (*WATCHED, "runtime.devices=2", "runtime.strategy=fsdp", "runtime.accelerator=cpu"),
            "trainer.watch.every_epochs",
            "needs whole weights",
        ),
    ],
)
def test_impossible_scores_are_refused_before_training(ask, overrides, setting, reason):
    with pytest.raises(Refused) as refused:
        ask("method=ga", *overrides)
    message = str(refused.value)
    assert message.startswith(setting)
    assert reason in message


def test_a_trainer_of_the_user_s_own_may_lack_the_group(composed, home):
    config = composed(*SMALL, *SMALL_MODEL, f"runtime.home={home}", "quant=rtn4", "~trainer.watch")
    assert request(config, CHOICES).goals[0].name == "record"
