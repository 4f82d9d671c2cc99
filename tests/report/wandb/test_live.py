"""A training that is sent while it runs, offline: what W&B's own reader finds in its files."""

import time
from dataclasses import replace

import pytest
import wandb

from tests.unlearn import shared_training
from tests.unlearn.shared_training import CASES, train
from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb import live as live_runs
from unlearn_lab.report.wandb.live import LiveTraining, send_training, watcher_of
from unlearn_lab.report.wandb.training_run import TrainingRun, read_sent
from unlearn_lab.unlearn.training.curve import Curve, Point, write_curve
from unlearn_lab.unlearn.training.steps import read_steps
from unlearn_lab.unlearn.training.watcher import watched


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    wandb.teardown()
    yield TrainingRun(
        key="c0ffee" * 10,
        name="npo_gdr adamw c0ffee",
        group="a sweep",
        tags=("unlearn", "tiny"),
        config={"stage": "unlearn", "method": {"beta": 0.1}},
        home=str(tmp_path / "lab"),
        settings=Wandb(mode="offline", project="p", entity=None, timeout=10.0),
    )
    wandb.teardown()


def parts(run):
    """The folders of its offline runs, in the order of their start."""
    return sorted((run.state_path.parents[1]).glob(f"offline-run-*-{run.id}"))


def test_a_run_has_name_group_type_tags_and_the_training_s_history(run, records_of, tmp_path):
    with watched(LiveTraining(run, interval=0.0)):
        train(CASES["ga_gdr"], tmp_path / "work")
    (folder,) = parts(run)
    found = records_of(folder)
    (told,) = found["run"]
    assert (told["display_name"], told["run_group"], told["job_type"]) == (
        "npo_gdr adamw c0ffee",
        "a sweep",
        "train",
    )
    assert (told["run_id"], told["project"], set(told["tags"])) == (run.id, "p", set(run.tags))
    assert told["config"]["update"]["method"] == {"beta": 0.1}
    rows = [row["item"] for row in found["history"]]
    stored = read_steps(tmp_path / "work")
    assert [row["train/step"] for row in rows] == [row["step"] for row in stored]
    for row, kept in zip(rows, stored, strict=True):
        assert row["_step"] == kept["step"]
        assert row["train/loss"] == pytest.approx(kept["loss"])
        assert row["train/gradient_norm"] == pytest.approx(kept["gradient_norm"])
        assert row["train/learning_rate"] == 0.01
    axes = {metric.get("glob_name"): metric.get("step_metric") for metric in found["metric"]}
    assert axes["train/*"] == "train/step"
    assert found["stats"]  # what the machine is doing


@pytest.mark.slow
def test_the_history_can_be_read_while_it_trains(run, records_of, tmp_path):
    seen = []

    def look(epoch):
        deadline = time.monotonic() + 60  # the client writes at intervals
        while epoch == 2 and len(seen) < 6 and time.monotonic() < deadline:
            time.sleep(0.5)
            seen[:] = records_of(parts(run)[0], ended=False).get("history", [])

    with watched(LiveTraining(run, interval=0.0)):
        train(replace(CASES["ga_gdr"], should_stop=look), tmp_path / "work")
    assert [row["item"]["train/step"] for row in seen] == list(range(6))


def test_parts_of_a_preempted_training_are_one_unbroken_history(run, records_of, tmp_path):
    """Synced in the order of their start, they hold each step once."""

    class Later(LiveTraining):
        def begin(self):
            time.sleep(1.1)  # a folder is named by its second
            super().begin()

    with watched(Later(run, interval=0.0)):
        shared_training.run("resumed", tmp_path)
    first, second = (records_of(folder)["history"] for folder in parts(run))
    steps = [row["item"]["_step"] for row in (*first, *second)]
    assert steps == list(range(9))
    assert len(second) < 9
    known = read_sent(run)
    assert known is not None
    assert (known.last, known.complete) == (8, True)


def test_a_training_that_was_sent_is_not_sent_again(run, tmp_path, monkeypatch):
    with watched(LiveTraining(run, interval=0.0)):
        train(CASES["ga"], tmp_path / "work")
    before = parts(run)
    monkeypatch.setattr(live_runs, "read_steps", lambda folder: pytest.fail("was read"))
    send_training(run, tmp_path / "work")
    assert parts(run) == before


def test_an_error_of_the_client_ends_no_training(run, tmp_path, monkeypatch, caplog):
    live = LiveTraining(run, interval=0.0)
    live.begin()

    def broken(*arguments, **settings):
        raise RuntimeError("the service is away\nand a stack")

    monkeypatch.setattr(wandb.Run, "log", broken)
    live.step(0, {"loss": 1.0})
    live.step(1, {"loss": 1.0})
    live.end(complete=True)
    told = [text for text in caplog.messages if "no longer sent" in text]
    assert told == ["W&B: npo_gdr adamw c0ffee is no longer sent: the service is away"]
    known = read_sent(run)
    assert known is None or not known.complete


def test_a_full_disk_ends_no_training(run, tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live_runs, "write_sent", full)
    with watched(LiveTraining(run, interval=0.0)):
        train(CASES["ga"], tmp_path / "work")
    assert len(read_steps(tmp_path / "work")) == 9
    assert [text for text in caplog.messages if "No space left on device" in text]


def test_agents_and_disabled_runs_start_nothing(run, monkeypatch):
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was started"))
    disabled = replace(run, settings=replace(run.settings, mode="disabled"))
    assert watcher_of(disabled) is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    live = LiveTraining(run, interval=0.0)
    live.begin()
    live.step(0, {"loss": 1.0})
    live.end(complete=True)


def test_a_run_can_be_given_to_another_process(run):
    assert TrainingRun.from_plain(run.as_plain()) == run


def test_steps_that_come_too_soon_are_left_out_but_for_the_last(run, records_of):
    live = LiveTraining(run, interval=60.0)
    live.begin()
    for step in range(5):
        live.step(step, {"loss": float(step)})
    live.end(complete=True)
    rows = [row["item"] for row in records_of(parts(run)[0])["history"]]
    assert [row["train/step"] for row in rows] == [0, 4]


def point(epoch):
    return Point(epoch=epoch, full={"knowmem": 90.0 - epoch}, quantized={"knowmem": 95.0 - epoch})


def scores_of(history):
    """Epoch, scores and step of the rows that have scores."""
    rows = [row["item"] for row in history if "watch/epoch" in row["item"]]
    names = ("watch/epoch", "watch/full/knowmem", "watch/quantized/knowmem", "_step")
    return [tuple(row[name] for name in names) for row in rows]


def test_scores_come_with_the_next_step_on_an_axis_of_epochs(run, records_of):
    live = LiveTraining(run, interval=0.0)
    live.scores(point(0))  # of the target, before the first step
    live.begin()
    live.step(0, {"loss": 1.0})
    live.step(1, {"loss": 0.5})
    live.scores(point(1))
    live.step(2, {"loss": 0.4})
    live.scores(point(2))
    live.end(complete=True)
    found = records_of(parts(run)[0])
    assert scores_of(found["history"]) == [(0, 90, 95, 0), (1, 89, 94, 2), (2, 88, 93, 3)]
    assert [row["item"].get("train/step") for row in found["history"]] == [0, 1, 2, None]
    axes = {metric.get("glob_name"): metric.get("step_metric") for metric in found["metric"]}
    assert axes["watch/*"] == "watch/epoch"


@pytest.mark.slow
def test_scores_that_an_interrupted_part_did_not_send_come_with_the_next(run, records_of):
    first = LiveTraining(run, interval=0.0)
    first.begin()
    first.scores(point(0))
    first.step(0, {"loss": 1.0})
    first.scores(point(1))
    first.end(complete=False)
    time.sleep(1.1)  # a folder is named by its second
    second = LiveTraining(run, interval=0.0)
    for epoch in (0, 1):  # as a resumed training shows what its file has
        second.scores(point(epoch))
    second.begin()
    second.step(0, {"loss": 1.0})
    second.step(1, {"loss": 0.5})
    second.end(complete=True)
    histories = [records_of(folder)["history"] for folder in parts(run)]
    assert [scores_of(one) for one in histories] == [[(0, 90, 95, 0)], [(1, 89, 94, 1)]]


def test_a_training_that_ran_while_wandb_was_off_is_sent_with_its_scores(run, records_of, tmp_path):
    train(CASES["ga"], tmp_path / "work")
    write_curve(tmp_path / "work", Curve(settings={}, points=(point(0), point(3))))
    send_training(run, tmp_path / "work")
    (folder,) = parts(run)
    assert scores_of(records_of(folder)["history"]) == [(0, 90, 95, 0), (3, 87, 92, 1)]
