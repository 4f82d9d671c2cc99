import json
import os
import time
from pathlib import Path

import pytest

from tests.graph.builders import QUICK
from unlearn_lab.graph.claim import Claim, Watch, break_claim, read_owner


def owner_elsewhere(folder: Path, token="t"):
    folder.mkdir(parents=True)
    (folder / "heartbeat").write_text("7")
    (folder / "owner.json").write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": token}))


def test_a_beating_claim_is_respected(tmp_path):
    claim = tmp_path / "claim"
    owner_elsewhere(claim)
    watch = Watch(claim, QUICK)
    for count in range(8):
        (claim / "heartbeat").write_text(str(count))
        assert not watch.owner_is_dead()
        time.sleep(QUICK.stale_after / 5)


def test_a_claim_beats_and_ends(tmp_path):
    with Claim(tmp_path / "claim", QUICK) as claim:
        assert claim.try_acquire()
        assert not Claim(tmp_path / "claim", QUICK).try_acquire()
        time.sleep(0.2)
        assert int((tmp_path / "claim" / "heartbeat").read_text()) >= 1
    assert not (tmp_path / "claim").exists()


def test_a_claim_that_was_taken_over_stops_beating_and_is_left_alone(tmp_path):
    folder = tmp_path / "claim"
    with Claim(folder, QUICK) as claim:
        assert claim.try_acquire()
        break_claim(folder, claim.token)
        owner_elsewhere(folder, "thief")
        assert not claim.still_mine()
        time.sleep(0.2)
    assert read_owner(folder)["token"] == "thief"
    assert (folder / "heartbeat").read_text() == "7"


def test_a_heartbeat_that_cannot_be_written_is_said_and_does_not_end_the_claim(tmp_path, caplog):
    with Claim(tmp_path / "claim", QUICK) as claim:
        assert claim.try_acquire()
        (tmp_path / "claim" / "heartbeat").unlink()
        (tmp_path / "claim" / "heartbeat").mkdir()
        time.sleep(0.2)
        assert "heartbeat failed" in caplog.text
        assert claim.still_mine()


def test_breaking_puts_back_a_claim_that_changed_hands_meanwhile(tmp_path):
    folder = tmp_path / "claim"
    owner_elsewhere(folder, "fresh")
    break_claim(folder, "dead")
    assert read_owner(folder)["token"] == "fresh"
    break_claim(folder, "fresh")
    assert not folder.exists()
    break_claim(folder, "fresh")


def test_a_process_that_is_alive_under_another_user_is_not_dead(tmp_path, monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    with Claim(tmp_path / "claim", QUICK) as claim:
        assert claim.try_acquire()
        monkeypatch.setattr(os, "kill", refuse)
        assert not Watch(tmp_path / "claim", QUICK).owner_is_dead()


def test_waiting_for_a_claim_that_vanishes_half_written(tmp_path):
    """A process may die between making the folder and writing its name: only silence tells."""
    (tmp_path / "claim").mkdir()
    watch = Watch(tmp_path / "claim", QUICK)
    assert not watch.owner_is_dead()
    time.sleep(QUICK.stale_after * 1.5)
    assert watch.owner_is_dead()
    assert watch.token is None


def test_a_claim_that_cannot_be_read_for_a_moment_is_kept(tmp_path):
    with Claim(tmp_path / "claim", QUICK) as claim:
        assert claim.try_acquire()
        (tmp_path / "claim" / "owner.json").write_text("{")
        assert claim.still_mine()


def test_who_did_not_win_leaves_a_claim_alone_whose_owner_is_not_written_yet(tmp_path):
    """The winner makes the folder first and its files after; the loser may pass in between."""
    folder = tmp_path / "claim"
    folder.mkdir()
    with Claim(folder, QUICK) as loser:
        assert not loser.try_acquire()
    assert folder.exists()


def test_a_claim_that_could_not_be_written_is_released(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"), Claim(tmp_path / "claim", QUICK) as claim:
        claim.try_acquire()
    assert not (tmp_path / "claim").exists()
