"""Whole sweeps at once on one cache, clocks that disagree, and what a dead machine has left."""

import json
import os
import time

import pytest

from tests.faults.conftest import SWEEP
from tests.faults.outcome import begun, files, finished, leftovers, records

HOUR = 3600.0
PATIENT = "runtime.claim_silence=60"


def assert_shared(running, home, whole):
    """All ended well, each stage was built by one of them, and the figures are right."""
    for process in running:
        assert process.wait() == 0, process.err
        assert "Traceback" not in process.err
    done = [key for process in running for key in finished(process.err)]
    assert len(done) == len(set(done))
    assert sorted(begun("".join(process.err for process in running))) == sorted(done)
    assert files(home) == files(whole)
    assert records(home) == records(whole)
    lines = (home / "results" / "sweeps.jsonl").read_text().splitlines()
    assert len(lines) == 2 * len(running)
    assert leftovers(home) == []


@pytest.mark.slow
def test_two_sweeps_share_a_cache_though_their_clocks_differ_by_an_hour(start, whole, tmp_path):
    home = tmp_path / "shared"
    clocks = (0.0, -HOUR)
    running = [start(*SWEEP, PATIENT, name=f"by {c}", home=home, clock=c) for c in clocks]
    assert_shared(running, home, whole)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eight_sweeps_share_a_cache(start, whole, tmp_path):
    home = tmp_path / "shared"
    running = [start(*SWEEP, PATIENT, name=str(n), home=home, clock=n * HOUR) for n in range(8)]
    assert_shared(running, home, whole)


def plant(folder, key, age):
    """What a machine that died while building `key` leaves: its claim, and a torn attempt."""
    claim = folder / f"{key}.claim"
    claim.mkdir(parents=True)
    (claim / "owner.json").write_text('{"host": "elsewhere", "pid": 1, "token": "gone"}')
    (claim / "heartbeat").write_text("7")
    work = folder / f"{key}.work.gone"
    work.mkdir()
    (work / "model.safetensors").write_text("half of it")
    (work / "steps.jsonl").write_text(json.dumps({"step": 0, "loss": 9.0}) + '\n{"step": 1, "lo')
    for path in (claim / "owner.json", claim / "heartbeat", claim, work):
        os.utime(path, (time.time() + age, time.time() + age))


def key_of(home, stage):
    return next((home / "cache" / stage).iterdir()).name


@pytest.mark.slow
def test_what_a_dead_machine_left_is_taken_over_whatever_its_clock_said(start, whole, tmp_path):
    """Files from a far future and a far past, a claim whose owner was never written, a trash."""
    home = tmp_path / "home"
    keys = {stage: key_of(whole, stage) for stage in ("target", "retrain", "unlearn")}
    plant(home / "cache" / "target", keys["target"], age=300 * 24 * HOUR)
    plant(home / "cache" / "retrain", keys["retrain"], age=-3000 * 24 * HOUR)
    (home / "cache" / "unlearn" / f"{keys['unlearn']}.claim").mkdir(parents=True)
    (home / "cache" / "unlearn" / f"{keys['unlearn']}.0123.dead" / "x").mkdir(parents=True)
    running = start(*SWEEP, "runtime.claim_silence=0.5", name="after", home=home)
    assert running.wait() == 0, running.err
    for stage, key in keys.items():
        assert f"{stage} {key[:8]}: its builder has died; taking over" in running.err
    assert files(home) == files(whole)
    assert records(home) == records(whole)
    assert leftovers(home) == []
