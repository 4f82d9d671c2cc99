"""The real W&B client against a small server that answers as W&B does."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb import sink as wandb_sink
from unlearn_lab.report.wandb.live import LiveTraining, send_training
from unlearn_lab.report.wandb.training_run import TrainingRun, read_sent
from unlearn_lab.unlearn.training.steps import STEPS


def settings(timeout=10.0):
    return Wandb(mode="auto", project="unlearn_lab", entity=None, timeout=timeout)


def training(home, timeout=10.0):
    return TrainingRun(
        key="c0ffee" * 10,
        name="npo_gdr adamw c0ffee",
        group="headline",
        tags=("unlearn", "tiny"),
        config={"stage": "unlearn", "seed": 3},
        home=str(home),
        settings=settings(timeout),
    )


def trained(folder, steps=1):
    """A folder with the steps of a training."""
    rows = [{"step": step, "loss": 1.0 / (step + 1)} for step in range(steps)]
    (folder / STEPS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def sent(server):
    """What was streamed, with its inner JSON unfolded."""
    return json.dumps(server.streamed).replace("\\", "")


def created(server):
    """The runs as they were created, in order; the client tells of each several times."""
    first = {}
    for told in server.runs:
        first.setdefault(told["name"], told)
    return list(first.values())


def until(found):
    """Waits for what the client sends at intervals of its own."""
    deadline = time.monotonic() + 60
    while not found() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found()


def test_a_leaf_becomes_a_run_of_its_name_and_group(server, make_record, leaf, tmp_path):
    record = make_record() | {"verdict": "comes back"}
    run = leaf(record)
    result = wandb_sink.send(run, tmp_path, settings(), {})
    assert result.status == "online"
    assert result.url == f"{server.url}/me/p/runs/{run.id}"
    assert result.line == f"sent to {result.url}"
    (told,) = created(server)
    assert (told["name"], told["groupName"], told["jobType"]) == (run.id, "headline", "eval")
    assert told["displayName"] == "npo_gdr adamw rtn4"
    assert set(told["tags"]) == {"comes back", "tiny", "gazette"}
    assert "71.3" in sent(server)


@pytest.mark.slow
def test_a_training_is_seen_while_it_runs(server, tmp_path):
    live = LiveTraining(training(tmp_path), interval=0.0)
    live.begin()
    live.step(0, {"loss": 2.5, "tokens_per_second": 100.0})
    until(lambda: '"train/loss":2.5' in sent(server))  # before it has ended
    live.step(1, {"loss": 1.25, "tokens_per_second": 110.0})
    (told,) = created(server)
    assert told["name"] == ("c0ffee" * 3)[:16]
    assert (told["groupName"], told["jobType"]) == ("headline", "train")
    assert told["displayName"] == "npo_gdr adamw c0ffee"
    live.end(complete=True)
    assert '"train/loss":1.25' in sent(server)
    known = read_sent(training(tmp_path))
    assert known is not None
    assert (known.last, known.complete) == (1, True)
    assert known.url == f"{server.url}/me/p/runs/{told['name']}"


def test_a_leaf_sends_a_training_that_ran_while_wandb_was_off(server, make_record, leaf, tmp_path):
    trainings = {"unlearn": (training(tmp_path), trained(tmp_path, steps=3))}
    result = wandb_sink.send(leaf(make_record()), tmp_path, settings(), trainings)
    assert result.status == "online"
    assert [told["jobType"] for told in created(server)] == ["train", "eval"]
    assert '"train/loss":0.5' in sent(server)
    assert f"/runs/{training(tmp_path).id}" in sent(server)  # the leaf's summary links to it
    again = wandb_sink.send(leaf(make_record(seed=1)), tmp_path, settings(), trainings)
    assert again.status == "online"
    assert [told["jobType"] for told in created(server)] == ["train", "eval", "eval"]


def test_a_leaf_uses_what_its_training_has_logged(server, make_record, leaf, tmp_path):
    """Both name the same contents, which are one version on the server."""
    run = replace(leaf(make_record()), trainings=(training(tmp_path),))
    trainings = {"unlearn": (training(tmp_path), trained(tmp_path))}
    wandb_sink.send(run, tmp_path, settings(), trainings)
    logged = [told["input"] for name, told in server.told if name == "CreateArtifact"]
    assert [one["artifactTypeName"] for one in logged] == ["training", "training"]
    assert len({one["digest"] for one in logged}) == 1
    assert [one["runName"] for one in logged] == [training(tmp_path).id, None]  # logged, used
    (used,) = [told for name, told in server.told if name == "UseArtifact"]
    assert used["input"]["runName"] == run.id


def test_what_was_kept_offline_is_sent_once_there_is_a_key(server, monkeypatch, tmp_path):
    folder = trained(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    first = send_training(training(tmp_path), folder)
    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()  # as in a later process
    second = send_training(training(tmp_path), folder)
    assert first is not None
    assert second is not None
    assert (first.url, Path(first.place).name) == ("", "wandb")
    assert second.url.startswith(server.url)
    assert len(created(server)) == 1


def test_a_deleted_id_gets_a_suffix(server, make_record, leaf, tmp_path):
    run = leaf(make_record())
    server.deleted = {run.id, training(tmp_path).id}
    result = wandb_sink.send(run, tmp_path, settings(timeout=1.5), {})
    assert result.status == "online"
    assert result.line == (
        f"sent to {server.url}/me/p/runs/{run.id}-2 "
        "(this run was deleted there, so its id now ends in -2)"
    )
    known = send_training(training(tmp_path, timeout=1.5), tmp_path)
    assert known is not None
    assert known.url.endswith(f"{training(tmp_path).id}-2")


def test_an_upload_that_does_not_end_is_left_on_disk(server, make_record, leaf, tmp_path):
    server.stalled = True
    started = time.monotonic()
    result = wandb_sink.send(leaf(make_record()), tmp_path, settings(timeout=2.0), {})
    assert time.monotonic() - started < 15
    assert result.status == "offline"
    assert "the upload is incomplete" in result.line
    assert str(result.path) in result.line
    assert result.path is not None
    assert list(result.path.glob("run-*.wandb"))


def test_a_training_whose_upload_does_not_end_goes_on(server, tmp_path):
    server.stalled = True
    live = LiveTraining(training(tmp_path, timeout=2.0), interval=0.0)
    started = time.monotonic()
    live.begin()
    live.step(0, {"loss": 2.5})
    live.end(complete=True)
    assert time.monotonic() - started < 15
    known = read_sent(training(tmp_path))
    assert known is None or not known.complete  # the leaf sends it again
