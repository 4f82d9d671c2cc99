"""Runs the command line in a process of its own, as small as it gets."""

import json
import multiprocessing
import os

import pytest

from tests.e2e import command
from tests.e2e.artifacts import SMALL, SMALL_MODEL


class Run:
    """What a command printed and how it ended."""

    def __init__(self, status, out, err, home):
        self.status, self.out, self.err, self.home = status, out, err, home

    @property
    def records(self):
        lines = (self.home / "results" / "records.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def forkserver():
    """Forks children from a process that has imported everything and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.e2e.command"])
    return context


def execute(forkserver, arguments, folder, home, environment=None, hosts=()) -> Run:
    """One command in `folder`, in a process of its own that reaches `hosts` only."""
    variables = {**os.environ, "COLUMNS": "160", **(environment or {})}
    variables.pop("WANDB_API_KEY", None)
    process = forkserver.Process(target=command.run, args=(arguments, folder, variables, hosts))
    process.start()
    process.join()
    out, err = ((folder / name).read_text() for name in ("out", "err"))
    return Run(process.exitcode, out, err, home)


@pytest.fixture
def lab(tmp_path, forkserver):
    """Runs `python -m unlearn_lab ARGUMENTS` with a home of its own."""

    def run(*arguments, small=True, home=tmp_path / "lab", environment=None):
        settings = [*SMALL, f"runtime.home={home}"] if small else []
        if small and "model=hf" not in arguments:
            settings += SMALL_MODEL
        flags = [argument for argument in arguments if argument.startswith("-")]
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        return execute(forkserver, [*flags, *settings, *overrides], tmp_path, home, environment)

    return run
