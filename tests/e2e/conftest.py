"""Runs the command line in a process of its own, as small as it gets."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests import shared_forkserver
from tests.e2e import command
from tests.e2e.artifacts import SMALL, SMALL_MODEL
from unlearn_lab.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


class Run:
    """What a command printed and how it ended."""

    def __init__(self, status, out, err, home):
        self.status, self.out, self.err, self.home = status, out, err, home

    @property
    def records(self):
        lines = (self.home / "results" / "records.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def forkserver(tmp_path_factory):
    """Forks children from a process that has imported everything and computed nothing."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return shared_forkserver.join(run, "tests.e2e.everything")


def execute(forkserver, arguments, folder, home, environment=None, hosts=()) -> Run:
    """One command in `folder`, in a process of its own that reaches `hosts` only."""
    variables = {**os.environ, "COLUMNS": "160", **(environment or {})}
    variables.pop("WANDB_API_KEY", None)
    process = forkserver.Process(target=command.run, args=(arguments, folder, variables, hosts))
    process.start()
    process.join()
    out, err = ((folder / name).read_text() for name in ("out", "err"))
    return Run(process.exitcode, out, err, home)


def execute_apart(arguments, folder, home, environment=None) -> Run:
    """One command in an interpreter of its own.

    joblib's idle workers end with an interpreter that ends; a forked one waits 300 s for them.
    """
    places = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "unlearn_lab", *arguments],
        env={**os.environ, "COLUMNS": "160", "PYTHONPATH": places, **(environment or {})},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr, home)


def in_full(arguments, home, small):
    """The flags, the settings of the smallest run if it is asked for, then the overrides."""
    settings = [*SMALL, f"runtime.home={home}"] if small else []
    if small and "model=hf" not in arguments:
        settings += SMALL_MODEL
    flags = [argument for argument in arguments if argument.startswith("-")]
    return [*flags, *settings, *(one for one in arguments if not one.startswith("-"))]


@pytest.fixture(scope="session")
def learnt(tmp_path_factory, forkserver):
    """The cache of a home in which target and control of the smallest run are ready."""
    folder = tmp_path_factory.mktemp("learnt")
    for until in ("target.full", "retrain.full"):
        given = in_full((f"until={until}",), folder / "lab", small=True)
        done = execute(forkserver, given, folder, folder / "lab")
        assert done.status == 0, done.err
    return folder / "lab" / "cache"


@pytest.fixture
def lab(tmp_path, forkserver, request):
    """Runs `python -m unlearn_lab ARGUMENTS` with a home of its own.

    Under the mark `prepared` the home of a small run contains target and control, which takes
    half of the time away.
    """
    prepared = request.node.get_closest_marker("prepared")

    def run(*arguments, small=True, home=tmp_path / "lab", environment=None):
        if prepared and small and not home.exists():
            shutil.copytree(request.getfixturevalue("learnt"), home / "cache")
        given = in_full(arguments, home, small)
        if "+cluster=local" in arguments:
            return execute_apart(given, tmp_path, home, environment)
        return execute(forkserver, given, tmp_path, home, environment)

    return run


@pytest.fixture
def refusing_lab(tmp_path, monkeypatch, capsys):
    """Runs a command that ends before it trains, in this process, which is as it was afterwards.

    Hydra's logging is off: setting it up closes the handlers of pytest.
    """
    ending, environment, path = signal.getsignal(signal.SIGTERM), dict(os.environ), sys.path[:]
    silent = ("hydra/job_logging=none", "hydra/hydra_logging=none")

    def run(*arguments, small=True, home=tmp_path / "lab"):
        given = in_full(arguments, home, small)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["unlearn_lab", *given, *silent])
        monkeypatch.setenv("COLUMNS", "160")
        try:
            main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code or 0
        finally:
            GlobalHydra.instance().clear()
        return Run(status, *capsys.readouterr(), home)

    yield run
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    signal.signal(signal.SIGTERM, ending)
