"""Whole commands under faults: each in a session of its own, so that all it started can be ended."""

import os
import signal

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.e2e.conftest import forkserver, lab
from tests.faults import child

__all__ = ["forkserver", "lab"]


class Running:
    """A command that was started: what it prints goes to files in `folder`."""

    def __init__(self, process, folder, home):
        self.process, self.folder, self.home = process, folder, home

    def wait(self):
        self.process.join()
        return self.process.exitcode

    def kill_all(self, sign=signal.SIGKILL):
        """Sends a signal to the process and to all that it started."""
        os.killpg(self.process.pid, sign)

    @property
    def out(self):
        return (self.folder / "out").read_text()

    @property
    def err(self):
        return (self.folder / "err").read_text()


@pytest.fixture
def start(forkserver, tmp_path):
    """Starts `python -m unlearn_lab ARGUMENTS`, small, without waiting for it."""

    def begin(*arguments, name, home, environment=None, small_model=True, **fault):
        folder = tmp_path / name
        folder.mkdir()
        model = SMALL_MODEL if small_model else ()
        flags = [argument for argument in arguments if argument.startswith("-")]
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        whole = [*flags, *SMALL, *model, f"runtime.home={home}", *overrides]
        variables = {**os.environ, "COLUMNS": "160", **(environment or {})}
        variables.pop("WANDB_API_KEY", None)
        process = forkserver.Process(
            target=child.run, args=(whole, folder, variables), kwargs=fault
        )
        process.start()
        return Running(process, folder, home)

    return begin
