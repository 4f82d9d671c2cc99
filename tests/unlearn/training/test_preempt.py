"""Signals in a training: a checkpoint first, then what the signal would have done; same bits."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from tests.unlearn.cut_off import KINDS, STEPS_OF_AN_EPOCH, Cut, send, train
from unlearn_lab.graph.cache import Interrupted
from unlearn_lab.graph.signals import SIGNALS
from unlearn_lab.unlearn.training.fit import CHECKPOINT
from unlearn_lab.unlearn.training.steps import read_steps

LAST = {"adamw": 9, "sure": 11, "lora": 11}


@pytest.fixture(autouse=True)
def handled():
    """What came to handlers that were there before: SIGUSR2's ends the process as submitit's."""
    came, before = [], {number: signal.getsignal(number) for number in SIGNALS}

    def requeue(number, frame):
        came.append(number)
        raise SystemExit(7)

    signal.signal(signal.SIGUSR2, requeue)
    yield came
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before | {signal.SIGUSR2: requeue}


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    work = tmp_path_factory.mktemp(request.param) / "whole"
    return request.param, train(request.param, work), read_steps(work)


def assert_same(found, work, whole):
    _, (facts, rule, weights), steps = whole
    assert found[:2] == (facts, rule)
    assert all(torch.equal(found[2][name], value) for name, value in weights.items())
    assert read_steps(work) == steps
    assert not list(work.glob("last.*"))


def cut_off(kind, work, step):
    with pytest.raises(SystemExit, match="7"):
        train(kind, work, Cut(step, send(signal.SIGUSR2)))
    kept = torch.load(work / CHECKPOINT, weights_only=True)
    assert kept["global_step"] == step + 1
    assert not (work / CHECKPOINT).with_suffix(".new").exists()


def test_cut_off_again_and_again_it_ends_with_the_same_bits(whole, tmp_path, handled):
    """In mid-epoch, just before a renewal of the mask, at an epoch's end, at the very last step."""
    kind = whole[0]
    steps = (1, 2, STEPS_OF_AN_EPOCH - 1, 6, LAST[kind])
    for step in steps:
        cut_off(kind, tmp_path / "work", step)
    assert handled == [signal.SIGUSR2] * len(steps)
    assert_same(train(kind, tmp_path / "work"), tmp_path / "work", whole)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(12))
def test_cut_off_at_any_step_it_ends_with_the_same_bits(whole, tmp_path, step):
    kind = whole[0]
    cut_off(kind, tmp_path / "work", min(step, LAST[kind]))
    assert_same(train(kind, tmp_path / "work"), tmp_path / "work", whole)


class Crash(Exception):
    """What ends a training without a word."""


def crash():
    raise Crash


def test_a_crash_costs_the_steps_since_the_last_checkpoint_in_time(whole, tmp_path):
    work = tmp_path / "work"
    with pytest.raises(Crash):
        train(whole[0], work, Cut(6, crash), checkpoint_seconds=0.0)
    assert torch.load(work / CHECKPOINT, weights_only=True)["global_step"] == 6
    assert_same(train(whole[0], work), work, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_default_action_becomes_an_exit(tmp_path, caplog, number):
    with pytest.raises(SystemExit, match=str(128 + number)):
        train("adamw", tmp_path / "work", Cut(5, send(number)))
    assert f"preempted: checkpoint at step 6 kept in {tmp_path / 'work'}" in caplog.text
    caplog.set_level("INFO")
    assert train("adamw", tmp_path / "work")[0]["steps"] == 10
    assert "resumed after step 6, in epoch 2" in caplog.text


def test_a_handler_may_let_the_training_go_on(tmp_path, whole, caplog):
    came = []
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        numbers = (signal.SIGTERM, signal.SIGTERM)
        found = train(whole[0], tmp_path / "work", Cut(5, send(*numbers)), Cut(7, send(numbers[0])))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert came == [signal.SIGTERM] * 3
    kept = [text for text in caplog.messages if text.startswith("preempted")]
    assert [text.split()[4] for text in kept] == ["6", "7", "8"], "one after the other"
    assert_same(found, tmp_path / "work", whole)


def test_a_handler_that_fails_leaves_a_training_that_can_be_resumed(tmp_path):
    def refuse(number, frame):
        raise RuntimeError("timed-out too many times")

    signal.signal(signal.SIGTERM, refuse)
    try:
        with pytest.raises(Interrupted, match="SIGTERM: timed-out too many times"):
            train("adamw", tmp_path / "work", Cut(5, send(signal.SIGTERM)))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert (tmp_path / "work" / CHECKPOINT).exists()


def test_an_ignored_signal_stays_ignored(tmp_path):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        train(
            "adamw", tmp_path / "work", Cut(5, send(signal.SIGUSR1)), Cut(6, keeps_none(tmp_path))
        )
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def keeps_none(folder):
    def look():
        assert not (folder / "work" / CHECKPOINT).exists()

    return look


class Rule:
    """Asked about epoch `at`, a signal comes and a long evaluation would follow."""

    def __init__(self, at, reason):
        self.at, self.reason, self.asked = at, reason, []

    def __call__(self, epoch):
        self.asked.append(epoch)
        if epoch != self.at:
            return None
        if self.asked.count(epoch) == 1:
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.01)
            pytest.fail("the signal did not cut the rule off")
        return self.reason


@pytest.mark.parametrize(
    ("at", "reason", "asked"),
    [(2, None, [1, 2, 2, 3]), (2, "enough", [1, 2, 2]), (3, "enough", [1, 2, 3, 3])],
)
def test_a_signal_cuts_the_stop_rule_off_and_it_is_asked_again(tmp_path, at, reason, asked):
    rule = Rule(at, reason)
    whole = train("sure", tmp_path / "whole", stop=lambda epoch: reason if epoch == at else None)
    with pytest.raises(SystemExit, match="7"):
        train("sure", tmp_path / "work", stop=rule)
    found = train("sure", tmp_path / "work", stop=rule)
    assert rule.asked == asked
    assert found[0]["stopped"] == (reason or "end of the budget")
    assert_same(found, tmp_path / "work", ("sure", whole, read_steps(tmp_path / "whole")))


def test_a_signal_while_the_rule_is_asked_again_loses_nothing(tmp_path):
    for _ in range(2):
        with pytest.raises(SystemExit, match="7"):
            train("sure", tmp_path / "work", stop=Rule(2, None))
    found = train("sure", tmp_path / "work")
    whole = train("sure", tmp_path / "whole")
    assert_same(found, tmp_path / "work", ("sure", whole, read_steps(tmp_path / "whole")))


def test_handlers_are_back_after_an_error(tmp_path):
    with pytest.raises(Crash):
        train("adamw", tmp_path / "work", Cut(2, crash))


def test_outside_the_main_thread_signals_are_left_alone(tmp_path, handled):
    inside = []

    def look():
        inside.append(signal.getsignal(signal.SIGUSR2))

    before = signal.getsignal(signal.SIGUSR2)
    thread = threading.Thread(target=train, args=("adamw", tmp_path / "work", Cut(5, look)))
    thread.start()
    thread.join()
    assert inside == [before]


def test_a_slurm_job_is_not_requeued_by_lightning(tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\ntouch {tmp_path}/requeued\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    job = {"JOB_ID": "77", "JOB_NAME": "lab", "NTASKS": "4", "PROCID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(SystemExit, match=str(128 + signal.SIGUSR1)):
        train("adamw", tmp_path / "work", Cut(5, send(signal.SIGUSR1)))
    assert train("adamw", tmp_path / "work")[0]["steps"] == 10
    assert not (tmp_path / "requeued").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_are_sent_signals_end_with_the_same_bits(tmp_path, kind, number):
    whole = train(kind, tmp_path / "whole")
    command = [sys.executable, "-m", "tests.unlearn.cut_off", kind, str(tmp_path)]
    exits = []
    while not (tmp_path / "end.pt").exists():
        process = subprocess.Popen(command)
        known = len(read_steps(tmp_path / "work"))
        while process.poll() is None and len(read_steps(tmp_path / "work")) < known + 2:
            time.sleep(0.02)
        if process.poll() is None and len(exits) < 2:
            process.send_signal(number)
        exits.append(process.wait())
    status = {signal.SIGUSR2: 7, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert exits == [status, status, 0]
    assert (tmp_path / "requeued").exists() == (number == signal.SIGUSR2)
    found = torch.load(tmp_path / "end.pt", weights_only=True)
    found = (*found[:2], {name: value.data for name, value in found[2].items()})
    steps = read_steps(tmp_path / "whole")
    assert_same(found, tmp_path / "work", (kind, whole, steps))
