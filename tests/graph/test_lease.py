"""Leases of processes that live, are killed, and run on other machines."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

from tests.graph.builders import QUICK, make, stage
from unlearn_lab.graph.active_uses import ActiveUses
from unlearn_lab.graph.claim import ClaimTimeouts, read_owner
from unlearn_lab.graph.lease import FOLDER, lease, sole_pruner

PATIENT = ClaimTimeouts(heartbeat=0.05, poll=0.02, stale_after=60.0)
"""So long a silence that only a process known to be dead is taken for dead."""


def leases(root):
    return sorted((root / FOLDER).glob("*.lease"))


def elsewhere(folder, uses=("k",)):
    folder.mkdir(parents=True)
    (folder / "heartbeat").write_text("7")
    owner = {"host": "elsewhere", "pid": 1, "token": "t", "uses": list(uses)}
    (folder / "owner.json").write_text(json.dumps(owner))


def killed_inside(enter, *arguments):
    """A process that is killed while it holds what `enter` gives."""

    def hold(ready):
        with enter(*arguments):
            ready.set()
            time.sleep(60)

    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(ready,))
    process.start()
    assert ready.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_lease_lists_its_keys_beats_and_ends(tmp_path):
    with lease(tmp_path, ["b", "a"], QUICK):
        (held,) = leases(tmp_path)
        assert read_owner(held)["uses"] == ["a", "b"]
        assert set(ActiveUses(tmp_path, QUICK).holders()) == {"a", "b"}
        deadline = time.monotonic() + 10
        while (held / "heartbeat").read_text() in ("", "0"):  # empty while it is written
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert leases(tmp_path) == []


def test_a_lease_ends_with_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), lease(tmp_path, ["a"], QUICK):
        raise KeyboardInterrupt
    assert leases(tmp_path) == []


def test_a_lease_waits_for_a_removal_that_is_under_way_and_is_seen_by_it(tmp_path):
    """Whoever writes first, one of the two sees the other."""
    order = []

    def job():
        with lease(tmp_path, ["a"], QUICK):
            order.append("job")

    with sole_pruner(tmp_path, QUICK):
        waiting = threading.Thread(target=job)
        waiting.start()
        while not ActiveUses(tmp_path, QUICK).holders():
            time.sleep(0.01)
        time.sleep(0.2)
        order.append("pruned")
    waiting.join()
    assert order == ["pruned", "job"]


def test_pruners_take_turns(tmp_path):
    order = []

    def second():
        with sole_pruner(tmp_path, QUICK):
            order.append("second")

    with sole_pruner(tmp_path, QUICK) as still_alone:
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        assert still_alone()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_nobody_waits_for_a_pruner_that_was_killed(tmp_path):
    killed_inside(sole_pruner, tmp_path, PATIENT)
    assert (tmp_path / FOLDER / "prune.claim").exists()
    with lease(tmp_path, ["a"], PATIENT):
        assert not (tmp_path / FOLDER / "prune.claim").exists()


def test_a_killed_process_holds_nothing_at_once(tmp_path):
    killed_inside(lease, tmp_path, ["a"], PATIENT)
    assert len(leases(tmp_path)) == 1
    active = ActiveUses(tmp_path, PATIENT)
    assert active.holders() == {}
    assert active.living() == []


def test_another_hosts_lease_holds_until_its_heartbeat_has_stood_still(tmp_path):
    elsewhere(tmp_path / FOLDER / "1.lease")
    active = ActiveUses(tmp_path, QUICK)
    assert active.holders() == {"k": "process 1 on elsewhere"}
    started = time.monotonic()
    active.settle()
    assert time.monotonic() - started >= QUICK.stale_after - 0.05
    assert active.holders() == {}


def test_another_hosts_lease_that_beats_holds_and_is_not_waited_for(tmp_path):
    elsewhere(tmp_path / FOLDER / "1.lease")
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            (tmp_path / FOLDER / "1.lease" / "heartbeat").write_text(str(time.monotonic()))

    other = threading.Thread(target=beat)
    other.start()
    active = ActiveUses(tmp_path, PATIENT)
    active.settle()
    stop.set()
    other.join()
    assert set(active.holders()) == {"k"}


def test_a_lease_that_is_not_written_yet_holds_nothing(tmp_path):
    """Its owner will look for a pruner before it opens anything."""
    (tmp_path / FOLDER / "1.lease").mkdir(parents=True)
    active = ActiveUses(tmp_path, QUICK)
    assert active.holders() == {}
    assert active.living() == [tmp_path / FOLDER / "1.lease"]


def test_who_builds_a_stage_uses_all_below_it(tmp_path):
    base = stage("base")
    middle = stage("mid", {"of": base})
    leaf = stage("leaf", {"of": middle})
    seen = []

    def build(asked, inputs, work):
        seen.append(set(ActiveUses(tmp_path, QUICK).holders()))
        return {}

    make(tmp_path, build).get_or_build(leaf)
    assert seen[-1] == {base.key, middle.key, leaf.key}
    assert ActiveUses(tmp_path, QUICK).holders() == {}


def test_a_claim_that_is_moved_aside_for_a_moment_still_counts(tmp_path):
    """`break_claim` puts a claim back that has changed hands meanwhile."""
    elsewhere(tmp_path / "n" / "k.claim.0123abcd.dead", uses=["a"])
    assert set(ActiveUses(tmp_path, QUICK).holders()) == {"a", "k"}
