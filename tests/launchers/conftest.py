"""Sweeps through launchers: on this machine, and on a Slurm of its own."""

import os
import re
import time
from pathlib import Path

import pytest
import pytest_socket

from tests.e2e import command
from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.e2e.conftest import Run, forkserver, lab, refusing_lab
from tests.launchers.slurm import OneNodeSlurm, why_not

__all__ = ["forkserver", "lab", "refusing_lab"]

ON_THIS_NODE = (
    "hydra.launcher.gpus_per_node=null",
    *(f"hydra.sweeper.resources.{kind}.mem_gb=2" for kind in ("training", "quantizing")),
    "hydra.launcher.mem_gb=2",
)
WHERE = {
    "basic": (),
    "local": ("+cluster=local",),
    "submitit": ("+cluster=submitit",),
    "slurm": ("+cluster=slurm", *ON_THIS_NODE),
}


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A Slurm cluster of one node, this machine."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    cluster = OneNodeSlurm(folder=tmp_path_factory.mktemp("slurm"), processes=[])
    pytest_socket.enable_socket()  # to find free ports for its daemons
    try:
        cluster.start()
        pytest_socket.disable_socket(allow_unix_socket=True)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def variables(request, repository):
    """What a job on `cluster` is started with; workers find this copy of the package."""
    paths = os.pathsep.join(filter(None, [str(repository), os.environ.get("PYTHONPATH")]))
    made = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    if request.node.callspec.params["cluster"] == "slurm":
        made |= request.getfixturevalue("slurm").environment
    return made


@pytest.fixture
def sweep(lab, variables):
    """Runs the command to its end."""
    return lambda *arguments: lab("-m", *arguments, environment=variables)


class Started:
    """A sweep that goes on while the test looks at it."""

    def __init__(self, process, folder, home):
        self.process, self.folder, self.home = process, folder, home

    def wait_for(self, found):
        """What `found` returns as soon as that is true; fails when the sweep ends before."""
        deadline = time.monotonic() + 500
        while not (seen := found()):
            assert self.process.is_alive(), (self.folder / "err").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return seen

    def job(self, overrides: str) -> str:
        """The id of the job whose overrides match."""

        def told():
            found = re.search(rf" job (\S+): .*{overrides}", (self.folder / "err").read_text())
            return found and found[1]

        return self.wait_for(told)

    def end(self) -> Run:
        self.process.join()
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        return Run(self.process.exitcode, out, err, self.home)


@pytest.fixture
def start(forkserver, tmp_path, variables):
    """Starts the command without waiting for it."""
    running = []

    def begin(*arguments) -> Started:
        folder, home = tmp_path / "started", tmp_path / "lab"
        folder.mkdir()
        for name in ("out", "err"):
            (folder / name).touch()
        settings = ["-m", *SMALL, *SMALL_MODEL, f"runtime.home={home}", *arguments]
        process = forkserver.Process(
            target=command.run, args=(settings, folder, {**os.environ, **variables})
        )
        process.start()
        running.append(process)
        return Started(process, folder, Path(home))

    yield begin
    for process in running:
        process.kill()
        process.join()
