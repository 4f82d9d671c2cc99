"""Whole commands under faults, each in a session of its own: all that it started can be ended."""

import os
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.e2e.conftest import forkserver
from tests.faults import child

__all__ = ["forkserver"]

CLAIMS = ("runtime.claim_beat=0.2", "runtime.claim_silence=2")
SWEEP = ("-m", "method=ga", "quant=none,rtn4", "report.html=true", *CLAIMS)


class Running:
    """A command that was started: what it prints goes to files in `folder`."""

    def __init__(self, process, folder):
        self.process, self.folder = process, folder

    def wait(self):
        """The exit status; minus the signal's number for one that was killed."""
        self.process.join()
        return self.process.exitcode

    def kill_all(self):
        """Ends the process and all that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def seconds(self):
        """What it has used of the CPU; a busy machine does not change what it has done by then."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def cost(self):
        """File operations and seconds of CPU."""
        operations, seconds = (self.folder / "cost").read_text().split()
        return int(operations), float(seconds)

    @property
    def out(self):
        return (self.folder / "out").read_text()

    @property
    def err(self):
        return (self.folder / "err").read_text()


def begin(forkserver, folder, home, arguments, environment=None, **fault):
    """Starts `python -m unlearn_lab`, small, and does not wait for it."""
    folder.mkdir()
    folder.chmod(0o777)
    arguments = [*SMALL, *arguments]
    if "model=hf" not in arguments:
        arguments = [*SMALL_MODEL, *arguments]
    if not any("runtime.home=" in argument for argument in arguments):
        arguments.append(f"runtime.home={home}")
    arguments.sort(key=lambda argument: not argument.startswith("-"))
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    variables = {**ours, "COLUMNS": "160", **(environment or {})}
    values = (arguments, folder, variables, home)
    process = forkserver.Process(target=child.run, args=values, kwargs=fault)
    process.start()
    return Running(process, folder)


@pytest.fixture
def start(forkserver, tmp_path):
    """Starts a command; `name` is where what it prints goes."""

    def make(*arguments, name, home, **options):
        return begin(forkserver, tmp_path / name, home, arguments, **options)

    return make


@pytest.fixture(scope="session")
def whole(forkserver, tmp_path_factory):
    """The home of SWEEP, never interrupted; nobody may change it."""
    folder = tmp_path_factory.mktemp("whole")
    running = begin(forkserver, folder / "printed", folder / "home", SWEEP)
    assert running.wait() == 0, running.err
    return folder / "home"


@pytest.fixture
def anyones():
    """A folder that every user of this machine reaches."""
    with tempfile.TemporaryDirectory(prefix="unlearn_lab-") as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.fixture
def disk(anyones):
    """Makes a small disk of its own for a home; whoever may not mount one skips the test."""
    mounted = []

    def make(options):
        place = anyones / "disk"
        place.mkdir()
        command = f"mount -t tmpfs -o {options},mode=777 tmpfs {shlex.quote(str(place))}"
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)
