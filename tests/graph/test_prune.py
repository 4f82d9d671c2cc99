"""Real processes build, read, die and prune; nothing that one of them uses goes."""

import json
import multiprocessing
import os
import signal
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.graph.builders import QUICK, Recorder, make, stage
from unlearn_lab.graph.active_uses import ActiveUses
from unlearn_lab.graph.claim import ClaimTimeouts, break_claim, read_owner
from unlearn_lab.graph.inventory import take_inventory
from unlearn_lab.graph.lease import FOLDER, lease
from unlearn_lab.graph.prune import Selection, plan_prune, remove

BASE = stage("base")
MIDDLE = stage("mid", {"of": BASE})
LEAF = stage("leaf", {"of": MIDDLE})
OTHER = stage("other")
KEYS = {BASE.key, MIDDLE.key, LEAF.key}
PATIENT = ClaimTimeouts(heartbeat=0.05, poll=0.02, stale_after=60.0)
FORK = multiprocessing.get_context("fork")


def prune(root, timeouts=PATIENT):
    """Removes everything that may go; returns what went."""
    active = ActiveUses(root, timeouts)
    active.settle()
    return remove(root, take_inventory(root), active, timeouts)


def names(root):
    return sorted(
        path.name for path in root.glob("*/*") if path.is_dir() and path.parent.name != FOLDER
    )


def build_slowly(root, begun, go_on, leased):
    """Holds its stage until told, then opens a file of its input, whose manifest it read before."""

    def build(asked, inputs, work):
        (work / "checkpoint").write_text("half")
        begun.set()
        go_on.wait(30)
        return Recorder()(asked, inputs, work)

    with lease(root, KEYS, PATIENT) if leased else nullcontext():
        make(root, build).get_or_build(LEAF)


def started(target, *arguments):
    begun, go_on = FORK.Event(), FORK.Event()
    process = FORK.Process(target=target, args=(*arguments, begun, go_on))
    process.start()
    assert begun.wait(20)
    return process, go_on


@pytest.mark.parametrize("leased", [True, False])
def test_what_a_running_build_uses_stays(tmp_path, leased):
    for built in (MIDDLE, OTHER):
        make(tmp_path).get_or_build(built)
    process, go_on = started(lambda *events: build_slowly(tmp_path, *events, leased))
    gone = prune(tmp_path)
    go_on.set()
    process.join(30)
    assert process.exitcode == 0
    assert [item.stage for item in gone] == ["other"]
    assert set(names(tmp_path)) == KEYS
    assert (tmp_path / "leaf" / LEAF.key / "value").read_text() == "leaf(mid(base()))"


def read_later(root, begun, go_on):
    with lease(root, KEYS, PATIENT):
        paths = [make(root).get_or_build(wanted).path for wanted in (LEAF, BASE)]
        begun.set()
        go_on.wait(30)
        for path in paths:
            (path / "value").read_text()


def test_a_job_opens_what_it_has_loaded_long_after(tmp_path):
    make(tmp_path).get_or_build(LEAF)
    process, go_on = started(read_later, tmp_path)
    assert prune(tmp_path) == []
    go_on.set()
    process.join(30)
    assert process.exitcode == 0
    assert {item.key for item in prune(tmp_path)} == KEYS


def test_what_a_killed_process_left_goes_with_its_marks(tmp_path):
    make(tmp_path).get_or_build(MIDDLE)
    process, _ = started(lambda *events: build_slowly(tmp_path, *events, True))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = [item for item in take_inventory(tmp_path) if item.kind != "artifact"]
    assert sorted(item.kind for item in left) == ["claim", "lease", "unfinished"]
    begun = time.monotonic()
    active = ActiveUses(tmp_path, PATIENT)
    assert len(remove(tmp_path, left, active, PATIENT)) == 3
    assert time.monotonic() - begun < 10
    assert set(names(tmp_path)) == {BASE.key, MIDDLE.key}
    assert list((tmp_path / FOLDER).iterdir()) == []


def read_in_a_loop(root, until):
    while time.monotonic() < until:
        with lease(root, KEYS, QUICK):
            path = make(root).get_or_build(LEAF).path
            time.sleep(0.002)
            if (path / "value").read_text() != "leaf(mid(base()))":
                raise RuntimeError("half an artifact")


def test_jobs_that_race_with_removals_never_see_a_half(tmp_path):
    readers = [
        FORK.Process(target=read_in_a_loop, args=(tmp_path, time.monotonic() + 1.0))
        for _ in range(2)
    ]
    for process in readers:
        process.start()
    gone = 0
    while any(process.is_alive() for process in readers):
        active = ActiveUses(tmp_path, PATIENT)
        gone += len(remove(tmp_path, take_inventory(tmp_path), active, QUICK))
    assert [process.exitcode for process in readers] == [0, 0]
    assert gone > 0


def prune_and_tell(root, queue):
    queue.put([item.path.name for item in prune(root)])


def test_two_prunes_at_once_remove_each_thing_once(tmp_path):
    for number in range(20):
        make(tmp_path).get_or_build(stage(x=number))
    queue = FORK.Queue()
    processes = [FORK.Process(target=prune_and_tell, args=(tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    gone = [name for _ in processes for name in queue.get(timeout=30)]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    keys = [name for name in gone if not name.endswith(".dead")]
    assert sorted(keys) == sorted(stage(x=number).key for number in range(20))
    assert names(tmp_path) == []


def test_another_hosts_build_stays_until_its_heartbeat_has_stood_still(tmp_path):
    make(tmp_path).get_or_build(MIDDLE)
    claim = tmp_path / "mid" / f"{MIDDLE.key}.claim"
    claim.mkdir()
    (claim / "heartbeat").write_text("7")
    owner = {"host": "elsewhere", "pid": 1, "token": "t", "uses": [BASE.key, MIDDLE.key]}
    (claim / "owner.json").write_text(json.dumps(owner))
    plan = plan_prune(take_inventory(tmp_path), ActiveUses(tmp_path, QUICK))
    assert plan.free == []
    assert set(plan.used.values()) == {"process 1 on elsewhere"}
    assert len(prune(tmp_path, QUICK)) == 3


def test_what_a_link_points_to_stays(tmp_path):
    outside = make(tmp_path / "outside").get_or_build(OTHER).path
    root = tmp_path / "cache"
    path = make(root).get_or_build(BASE).path
    (path / "checkpoint").symlink_to(outside, target_is_directory=True)
    (root / "base" / OTHER.key).symlink_to(outside, target_is_directory=True)
    assert [item.key for item in prune(root)] == [BASE.key]
    assert (outside / "value").read_text() == "other()"
    assert (root / "base" / OTHER.key).is_symlink()


def test_a_pruner_that_was_taken_for_dead_stops(tmp_path, monkeypatch):
    for number in range(3):
        make(tmp_path).get_or_build(stage(x=number))
    rename, moved = Path.rename, []

    def rename_once(path, target):
        moved.append(path)
        claim = tmp_path / FOLDER / "prune.claim"
        monkeypatch.undo()
        break_claim(claim, read_owner(claim)["token"])
        claim.mkdir()
        (claim / "owner.json").write_text('{"host": "elsewhere", "pid": 1, "token": "thief"}')
        return rename(path, target)

    items, active = take_inventory(tmp_path), ActiveUses(tmp_path, PATIENT)
    monkeypatch.setattr(Path, "rename", rename_once)
    assert len(remove(tmp_path, items, active, PATIENT)) == len(moved) == 1
    assert len(names(tmp_path)) == 2


def as_nobody(function, root, queue):
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        queue.put(len(function(root)))
    except OSError as error:
        queue.put(error.strerror)


def test_a_cache_that_cannot_be_written_is_listed_and_stays_whole():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cache"
        make(root).get_or_build(LEAF)
        places = [Path(folder), *root.rglob("*"), root]
        for place in places:
            place.chmod(0o555 if place.is_dir() else 0o444)
        queue = FORK.Queue()
        for function in (take_inventory, prune):
            process = FORK.Process(target=as_nobody, args=(function, root, queue))
            process.start()
            process.join(30)
        assert [queue.get(timeout=10) for _ in range(2)] == [3, "Permission denied"]
        for place in places:
            place.chmod(0o755)
        assert len(take_inventory(root)) == 3


def test_selectors_combine(tmp_path):
    make(tmp_path).get_or_build(LEAF)
    items = take_inventory(tmp_path)
    every = Selection(stage=None, before=None, keys=None, but_keys=None)
    assert all(every(item) for item in items)
    late = Selection(stage=None, before=time.time() - 60, keys=None, but_keys=None)
    assert not any(late(item) for item in items)
    both = Selection(stage="mid", before=None, keys=KEYS, but_keys={LEAF.key})
    assert [item.key for item in items if both(item)] == [MIDDLE.key]
    neither = Selection(stage="mid", before=None, keys={LEAF.key}, but_keys=None)
    assert not any(neither(item) for item in items)
