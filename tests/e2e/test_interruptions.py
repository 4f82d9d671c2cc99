"""Crashes and company: killed work is finished by the next, work in progress is shared."""

import os
import signal
import time

import pytest

from tests.e2e import command
from tests.e2e.artifacts import SMALL, SMALL_MODEL, built, stamps

ARGUMENTS = ["method=npo_klr", "quant=rtn4", "trainer.epochs=12", "runtime.checkpoint_seconds=0"]


def figures(record):
    volatile = (
        "time",
        "sweep",
        "git",
        "seconds.",
        "peak_gb",
        "quantizer.seconds",
        "quantizer.peak_gb",
        "config.runtime",
        "config.report",
        "run_id",
    )
    return {key: value for key, value in record.items() if not key.startswith(volatile)}


@pytest.fixture
def start(forkserver, tmp_path):
    """Starts the command without waiting for it; each has a folder for what it prints."""

    def begin(name, home, *further):
        folder = tmp_path / name
        folder.mkdir()
        arguments = [*SMALL, *SMALL_MODEL, *ARGUMENTS, f"runtime.home={home}", *further]
        process = forkserver.Process(target=command.run, args=(arguments, folder, dict(os.environ)))
        process.start()
        return process

    return begin


def wait_for(found, process):
    deadline = time.monotonic() + 120
    while not found() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)


def assert_finished_as_if_whole(again, whole, cache):
    assert again.status == 0, again.err
    assert figures(again.records[-1]) == figures(whole.records[-1]) | {
        key: again.records[-1][key] for key in ("layers", "samples")
    }
    assert not list(cache.glob("*/*.work*")) + list(cache.glob("*/*.claim*"))


def num_steps(cache):
    return sum(len(path.read_text().splitlines()) for path in cache.glob("unlearn/*.work.*/steps*"))


@pytest.mark.slow
def test_a_training_that_is_killed_then_terminated_is_gone_on_with(lab, start, tmp_path):
    whole = lab(*ARGUMENTS, "trainer.epochs=25", home=tmp_path / "whole")
    cache = tmp_path / "cut" / "cache"
    killed = start("killed", tmp_path / "cut", "trainer.epochs=25")
    wait_for(lambda: list(cache.glob("unlearn/*.work.*/last.ckpt")), killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    known = num_steps(cache)
    terminated = start("terminated", tmp_path / "cut", "trainer.epochs=25")
    wait_for(lambda: num_steps(cache) > known + 4, terminated)
    os.kill(terminated.pid, signal.SIGTERM)
    terminated.join()
    assert (killed.exitcode, terminated.exitcode) == (-signal.SIGKILL, 128 + signal.SIGTERM)
    assert "preempted: checkpoint at step" in (tmp_path / "terminated" / "err").read_text()
    assert not list(cache.glob("*/*.claim*")), "released, for processes on other machines"
    again = lab(*ARGUMENTS, "trainer.epochs=25", home=tmp_path / "cut")
    assert "resumed after step" in again.err
    assert_finished_as_if_whole(again, whole, cache)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "sign"),
    [
        ("unlearn", "unlearn/*.work.*/last.ckpt"),
        ("corpus", "corpus/*.work.*"),
        ("target", "target/*.work.*"),
        ("training of the target", "target/*.work.*/last.ckpt"),
        ("evaluate", "evaluate/*.work.*"),
    ],
)
def test_kill_9_and_the_same_command_again_end_with_the_same_figures(
    lab, start, tmp_path, stage, sign
):
    whole = lab(*ARGUMENTS, home=tmp_path / "whole")
    cache = tmp_path / "cut" / "cache"
    process = start(f"killed in {stage}", tmp_path / "cut")
    wait_for(lambda: list(cache.glob(sign)), process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "results" / "records.jsonl").exists()
    assert_finished_as_if_whole(lab(*ARGUMENTS, home=tmp_path / "cut"), whole, cache)


@pytest.mark.slow
def test_two_processes_share_a_cache_and_build_each_stage_once(start, tmp_path):
    home = tmp_path / "shared home"
    processes = [start(name, home) for name in ("one", "two")]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    counts = built(home)
    assert counts == {name: 6 if name == "evaluate" else 1 for name in counts}
    assert len(stamps(home)) == 14
    waited = "".join((tmp_path / name / "err").read_text() for name in ("one", "two"))
    assert "another process is building" in waited
    assert len((home / "results" / "sweeps.jsonl").read_text().splitlines()) == 2
