"""Homes that cannot be written to, and homes with names that take quoting."""

import json
import os
import shutil
import subprocess

import pytest

from tests.faults.conftest import SWEEP
from tests.faults.outcome import files, leftovers, records

NOBODY = 65534


def assert_refused(running, home, before):
    """At once, in a line or two that name the folder and what to do, and nothing was touched."""
    assert running.wait() == 2, running.err
    assert "runtime.home=" in running.err
    assert str(home) in running.err
    assert "name another folder" in running.err
    assert "Traceback" not in running.err
    assert len(running.err.strip().splitlines()) <= 2
    assert sorted(home.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")
@pytest.mark.parametrize("warm", [False, True])
def test_somebody_elses_home_is_refused_in_a_line(start, whole, anyones, warm):
    """Even where every result is there already: a sweep keeps records, logs and a report."""
    home = anyones / "home"
    if warm:
        shutil.copytree(whole, home)
    else:
        home.mkdir()
    before = sorted(home.rglob("*"))
    environment = {"HOME": str(anyones), "HF_HOME": str(anyones)}
    folder = anyones / "printed"
    running = start(*SWEEP, name=folder, home=home, user=NOBODY, environment=environment)
    assert_refused(running, home, before)


@pytest.mark.slow
def test_a_disk_that_is_mounted_for_reading_is_refused_in_a_line(start, whole, disk):
    home = disk("size=64m") / "home"
    shutil.copytree(whole, home)
    subprocess.run(["mount", "-o", "remount,ro", home.parent], check=True)
    running = start(*SWEEP, name="read-only", home=home)
    assert_refused(running, home, sorted(home.rglob("*")))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["override", "environment"])
def test_a_home_with_a_name_that_takes_quoting(start, whole, tmp_path, way):
    """As an override it stands in double quotes for Hydra, inside single ones for the shell."""
    home = tmp_path / "it's Größe, {a=b} 量"
    quoted = f'runtime.home="{home}"'
    if way == "override":
        running = start(*SWEEP, quoted, name=way, home=home)
    else:
        unquoted = "runtime.home=${oc.env:UNLEARN_LAB_HOME}"
        there = {"UNLEARN_LAB_HOME": str(home)}
        running = start(*SWEEP, unquoted, name=way, home=home, environment=there)
    assert running.wait() == 0, running.err
    assert files(home) == files(whole)
    assert records(home) == records(whole)
    assert leftovers(home) == []
    record = json.loads((home / "results" / "records.jsonl").read_text().splitlines()[-1])
    assert (home / record["layers"]).exists()
    assert (home / "results" / "report.html").exists()
