"""Artifacts that are not whole, in every way at once, under a whole command."""

import json
import os
import re
import shutil

import pytest

from tests.faults.conftest import SWEEP
from tests.faults.outcome import begun, files, records


def artifact(home, stage):
    return next((home / "cache" / stage).iterdir())


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(manifest):
    body = json.loads(manifest.read_text())
    body["facts"]["epochs"] = 99
    manifest.write_text(json.dumps(body))


@pytest.mark.slow
def test_every_kind_of_damage_is_found_said_and_mended(start, whole, tmp_path):
    """Each damaged artifact is needed only because the one built from it is damaged too."""
    home = tmp_path / "home"
    shutil.copytree(whole, home)
    for record in (home / "cache" / "record").iterdir():
        (record / "manifest.json").unlink()
    for evaluation in (home / "cache" / "evaluate").iterdir():
        (evaluation / "scores.json").unlink()
    os.truncate(artifact(home, "unlearn") / "model.safetensors", 1000)
    flip_a_byte(artifact(home, "target") / "model.safetensors")
    edit(artifact(home, "retrain") / "manifest.json")
    running = start(*SWEEP, name="again", home=home)
    assert running.wait() == 0, running.err
    for said in (
        "record: .*manifest.json cannot be read",
        "evaluate: .*scores.json is missing; rebuilding it",
        "unlearn: .*model.safetensors has 1000 bytes, not",
        "target: .*model.safetensors was changed: its SHA-256 does not match",
        "retrain: .*manifest.json was edited: its digest does not match",
    ):
        assert re.search(said, running.err), running.err
    assert len(begun(running.err)) == len(set(begun(running.err)))
    assert files(home) == files(whole)
    assert records(home) == records(whole)
