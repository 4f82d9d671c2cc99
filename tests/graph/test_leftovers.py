"""What killed processes leave beside artifacts: nothing of it locks, litters or misleads."""

import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from tests.graph.builders import QUICK, Recorder, make, stage
from unlearn_lab.graph.claim import Claim, ClaimTimeouts, Watch, read_owner

PATIENT = ClaimTimeouts(heartbeat=0.05, poll=0.02, stale_after=60.0)


def _die_holding(folder):
    Claim(folder, PATIENT).try_acquire()
    os._exit(9)


@pytest.fixture
def claim(tmp_path):
    """The claim of the stage `n`, whose owner on this machine has died."""
    folder = tmp_path / "n" / f"{stage().key}.claim"
    folder.parent.mkdir()
    process = multiprocessing.get_context("fork").Process(target=_die_holding, args=(folder,))
    process.start()
    process.join()
    assert folder.exists()
    return folder


def moved(claim, **changed):
    owner = read_owner(claim)
    (claim / "owner.json").write_text(json.dumps({**owner, **changed}))


def test_a_claim_beside_a_finished_artifact_is_cleared_when_the_artifact_is_read(tmp_path, claim):
    other = claim.rename(claim.with_name("aside"))
    make(tmp_path, timeouts=PATIENT).get_or_build(stage())
    other.rename(claim)
    assert not make(tmp_path, timeouts=PATIENT).get_or_build(stage()).built_now
    assert not claim.exists()


@pytest.mark.parametrize("field", ["host", "boot", "processes"])
def test_a_process_number_of_another_machine_or_container_tells_nothing(tmp_path, claim, field):
    """Containers of one image may share a host name, and number their processes each from 1."""
    assert Watch(claim, PATIENT).owner_is_dead()
    moved(claim, **{field: "elsewhere"})
    assert not Watch(claim, PATIENT).owner_is_dead()
    other = claim.rename(claim.with_name("aside"))
    make(tmp_path, timeouts=PATIENT).get_or_build(stage())
    other.rename(claim)
    make(tmp_path, timeouts=PATIENT).get_or_build(stage())
    assert claim.exists()


def test_what_was_being_removed_when_its_process_died_is_removed_by_the_next_build(tmp_path):
    for name in ("other.0123.dead", f"{stage().key}.work.gone.4567.dead"):
        (tmp_path / "n" / name / "deeper").mkdir(parents=True)
    make(tmp_path).get_or_build(stage())
    assert [path.name for path in (tmp_path / "n").iterdir()] == [stage().key]


def test_taking_up_an_interrupted_attempt_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "n" / f"{stage().key}.work.gone").mkdir(parents=True)
    make(tmp_path).get_or_build(stage())
    assert f"n {stage().key[:8]}: resuming an interrupted build" in caplog.text


def test_a_damaged_artifact_is_removed_by_nobody_but_its_claimant(tmp_path):
    """Or it would remove the whole one that another process has put in its place meanwhile."""
    path, recorder = make(tmp_path).get_or_build(stage()).path, Recorder()
    (path / "value").write_text("")
    with Claim(path.with_name(f"{path.name}.claim"), QUICK) as held:
        assert held.try_acquire()
        other = threading.Thread(target=lambda: make(tmp_path, recorder).get_or_build(stage()))
        other.start()
        time.sleep(0.2)
        assert path.exists()
        (path / "value").write_text("n()")
        other.join(10)
    assert not other.is_alive()
    assert recorder.built == []


def test_a_claim_moved_away_while_it_is_written_is_not_won(tmp_path, monkeypatch):
    def gone(path, text):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "write_text", gone)
    with Claim(tmp_path / "claim", QUICK) as claim:
        assert not claim.try_acquire()
