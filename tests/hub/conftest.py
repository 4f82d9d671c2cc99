"""A hub on this machine, and processes that use it as if it were the real one."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.hub.loading import prepare
from tests.hub_server import LOG, Repository

SERVER = Path(__file__).resolve().parents[1] / "hub_server.py"
NOWHERE = "http://127.0.0.1:9"
"""An address at which nothing listens: port 9 (discard) is no service of today."""


class Hub:
    """The server, a process of its own: in this one no socket may be opened."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), str(root)], stdout=subprocess.PIPE, text=True
        )
        self.endpoint = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"

    def repository(self, kind: str, name: str) -> Repository:
        return Repository.at(self.root, kind, name)

    def requests(self) -> list[str]:
        """What was asked since this was called last."""
        log = self.root / LOG
        found = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return found

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()


def variables(endpoint: str, home: Path) -> dict[str, str]:
    """The environment of a process that uses the hub at `endpoint` and a cache of its own."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """An empty hub; tests put repositories into it."""
    made = Hub(tmp_path_factory.mktemp("hub"))
    yield made
    made.stop()


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The local cache that all processes share."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def process():
    """Makes a process with an environment, which runs functions of loading.py."""
    pools = []

    def make(environment):
        pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=prepare,
            initargs=(environment,),
        )
        pools.append(pool)

        def run(function, *arguments, **named):
            return pool.submit(function, *arguments, **named).result()

        return run

    yield make
    for pool in pools:
        pool.shutdown()


@pytest.fixture(scope="session")
def online(process, hub, home):
    """Runs a function where the hub can be reached."""
    return process(variables(hub.endpoint, home))


@pytest.fixture(scope="session")
def offline(process, home):
    """Runs a function with `HF_HUB_OFFLINE=1` and no hub, but with what `online` has cached."""
    return process({**variables(NOWHERE, home), "HF_HUB_OFFLINE": "1"})


@pytest.fixture(scope="session")
def stranded(process, home):
    """Runs a function where nobody has said that there is no network, and there is none."""
    return process(variables(NOWHERE, home))
