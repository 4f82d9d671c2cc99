import json
import multiprocessing
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.graph.builders import QUICK, Recorder, make, stage
from unlearn_lab.graph import manifest
from unlearn_lab.graph.cache import Interrupted, StageFailed
from unlearn_lab.graph.claim import ClaimTimeouts, break_claim, read_owner
from unlearn_lab.graph.stage import Stage


def diamond() -> Stage:
    base = stage("base")
    return stage(
        "leaf", {"a": stage("mid", {"of": base}, x=1), "b": stage("mid", {"of": base}, x=2)}
    )


def test_each_stage_is_built_once_and_a_second_run_builds_nothing(tmp_path):
    recorder, leaf = Recorder(), diamond()
    artifact = make(tmp_path, recorder).get_or_build(leaf)
    assert (artifact.path / "value").read_text() == "leaf(mid(base())+mid(base()))"
    assert len(recorder.built) == len(set(recorder.built)) == 4
    again = make(tmp_path, recorder).get_or_build(leaf)
    assert len(recorder.built) == 4
    assert again.facts == {"inputs": 2}
    assert (artifact.built_now, again.built_now) == (True, False)


def test_a_finished_leaf_needs_none_of_its_inputs(tmp_path):
    leaf = diamond()
    make(tmp_path).get_or_build(leaf)
    for folder in (tmp_path / "mid", tmp_path / "base"):
        folder.rename(folder.with_name(f"{folder.name}-gone"))
    recorder = Recorder()
    make(tmp_path, recorder).get_or_build(leaf)
    assert recorder.built == []


def test_has_tells_whole_artifacts_only(tmp_path):
    cache, leaf = make(tmp_path), stage()
    assert not cache.has(leaf)
    path = cache.get_or_build(leaf).path
    assert cache.has(leaf)
    (path / "value").write_text("")
    assert not cache.has(leaf)


def test_a_failed_build_names_its_stage_and_leaves_nothing(tmp_path):
    def build(asked, inputs, work):
        (work / "half").write_text("half")
        raise ValueError("loss is NaN")

    bad = stage("bad")
    with pytest.raises(StageFailed, match=r"bad .*loss is NaN") as failure:
        make(tmp_path, build).get_or_build(stage("leaf", {"of": bad}))
    assert failure.value.stage is bad
    assert list((tmp_path / "bad").iterdir()) == []
    assert not (tmp_path / "leaf").exists()


def test_a_full_disk_fails_the_stage_and_frees_the_claim(tmp_path):
    def build(asked, inputs, work):
        raise OSError(28, "No space left on device")

    with pytest.raises(StageFailed, match="No space left"):
        make(tmp_path, build).get_or_build(stage())
    assert make(tmp_path).get_or_build(stage()).built_now


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit(143), Interrupted("cut")])
def test_an_interrupted_build_leaves_its_work_to_the_next(tmp_path, interruption):
    def interrupted(asked, inputs, work):
        (work / "checkpoint").write_text("epoch 3")
        raise interruption

    seen = []

    def build(asked, inputs, work):
        seen.append((work / "checkpoint").read_text())
        return {}

    with pytest.raises((KeyboardInterrupt, SystemExit, StageFailed)):
        make(tmp_path, interrupted).get_or_build(stage())
    make(tmp_path, build).get_or_build(stage())
    assert seen == ["epoch 3"]


def test_the_watcher_hears_of_every_stage(tmp_path):
    heard = []
    make(
        tmp_path, watch=lambda asked, artifact: heard.append((asked.name, artifact is not None))
    ).get_or_build(diamond())
    assert heard.count(("base", False)) == heard.count(("base", True)) == 1
    assert heard[-1] == ("leaf", True)


def _realise_slowly(root, counter):
    def build(asked, inputs, work):
        with counter.open("a") as stream:
            stream.write("x")
        time.sleep(0.3)
        (work / "value").write_text("v")
        return {}

    make(root, build).get_or_build(stage())


def test_eight_processes_build_a_stage_once(tmp_path):
    counter = tmp_path / "counter"
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_realise_slowly, args=(tmp_path / "c", counter)) for _ in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 8
    assert counter.read_text() == "x"


def _hang(root):
    def build(asked, inputs, work):
        (work / "checkpoint").write_text("half")
        time.sleep(60)
        return {}

    make(root, build).get_or_build(stage())


def test_after_kill_9_the_next_process_takes_over_at_once(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_hang, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("n/*.work.*/checkpoint")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    started = time.monotonic()
    assert (
        make(tmp_path, timeouts=ClaimTimeouts(heartbeat=1.0, poll=0.02, stale_after=60.0))
        .get_or_build(stage())
        .built_now
    )
    assert time.monotonic() - started < 10
    assert [path.name for path in (tmp_path / "n").iterdir()] == [stage().key]


def owner_elsewhere(folder: Path, token="t"):
    folder.mkdir(parents=True)
    (folder / "heartbeat").write_text("7")
    (folder / "owner.json").write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": token}))


def test_the_claim_of_a_dead_host_is_taken_over_when_its_heartbeat_stands_still(tmp_path):
    owner_elsewhere(tmp_path / "n" / f"{stage().key}.claim")
    started = time.monotonic()
    assert make(tmp_path).get_or_build(stage()).built_now
    assert time.monotonic() - started >= QUICK.stale_after


def test_a_build_whose_claim_was_lost_is_thrown_away(tmp_path):
    calls = []

    def build(asked, inputs, work):
        calls.append(work)
        (work / "value").write_text(str(len(calls)))
        if len(calls) == 1:
            claim = work.with_name(f"{asked.key}.claim")
            break_claim(claim, read_owner(claim)["token"])
        return {}

    artifact = make(tmp_path, build).get_or_build(stage())
    assert (artifact.path / "value").read_text() == "2"
    assert [path.name for path in (tmp_path / "n").iterdir()] == [stage().key]


def test_losing_the_race_to_publish_keeps_the_winner(tmp_path):
    def build(asked, inputs, work):
        (work / "value").write_text("loser")
        winner = work.with_name(asked.key)
        winner.mkdir()
        (winner / "value").write_text("winner")
        files = manifest.describe_files(winner)
        manifest.write(
            winner, manifest.Manifest(stage=asked.description, files=files, facts={}, seconds=0.0)
        )
        return {}

    artifact = make(tmp_path, build).get_or_build(stage())
    assert (artifact.path / "value").read_text() == "winner"
    assert [path.name for path in (tmp_path / "n").iterdir()] == [stage().key]


def test_a_publish_that_fails_for_another_reason_is_told(tmp_path):
    def build(asked, inputs, work):
        (work.with_name(asked.key)).write_text("a file in the way")
        return {}

    with pytest.raises(StageFailed):
        make(tmp_path, build).get_or_build(stage())


def test_older_leftovers_are_removed(tmp_path):
    for age, token in enumerate(("old", "new")):
        left = tmp_path / "n" / f"{stage().key}.work.{token}"
        left.mkdir(parents=True)
        (left / "checkpoint").write_text(token)
        os.utime(left, (age, age))
    seen = []

    def build(asked, inputs, work):
        seen.append((work / "checkpoint").read_text())
        return {}

    make(tmp_path, build).get_or_build(stage())
    assert seen == ["new"]
    assert [path.name for path in (tmp_path / "n").iterdir()] == [stage().key]


def test_a_path_with_spaces_and_umlauts(tmp_path):
    assert make(tmp_path / "Größe und Form").get_or_build(diamond()).built_now


def test_a_builder_whose_work_was_renamed_away_does_not_fail_the_stage(tmp_path):
    """A paused owner wakes up after a takeover: its writes fail, the new owner's count."""
    calls = []

    def build(asked, inputs, work):
        calls.append(work)
        if len(calls) == 1:
            claim = work.with_name(f"{asked.key}.claim")
            break_claim(claim, read_owner(claim)["token"])
            work.rename(work.with_name(f"{asked.key}.work.thief"))
        (work / "value").write_text("v")
        return {}

    assert make(tmp_path, build).get_or_build(stage()).built_now
    assert len(calls) == 2


def test_half_removed_leftovers_are_not_adopted(tmp_path):
    trash = tmp_path / "n" / f"{stage().key}.work.old.1234.dead"
    trash.mkdir(parents=True)
    (trash / "checkpoint").write_text("half gone")
    seen = []

    def build(asked, inputs, work):
        seen.append(list(work.iterdir()))
        return {}

    make(tmp_path, build).get_or_build(stage())
    assert seen == [[]]


def test_a_waiting_process_takes_what_the_other_has_built(tmp_path, caplog):
    caplog.set_level("INFO")
    begun, recorder = threading.Event(), Recorder()

    def slowly(asked, inputs, work):
        begun.set()
        time.sleep(0.3)
        return {}

    other = threading.Thread(target=lambda: make(tmp_path, slowly).get_or_build(stage()))
    other.start()
    begun.wait(10)
    assert not make(tmp_path, recorder).get_or_build(stage()).built_now
    other.join()
    assert recorder.built == []
    assert re.search(rf"n {stage().key[:8]}: another process .*waiting", caplog.text)
