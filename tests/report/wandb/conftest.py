"""The real W&B client: against a small server, and what its own reader says of offline runs."""

import json
import threading

import pytest
import pytest_socket
import wandb

from tests.report.wandb import offline
from tests.report.wandb.server import Server
from unlearn_lab.report.wandb import mode
from unlearn_lab.report.wandb.run import LeafRun


@pytest.fixture
def server(monkeypatch, tmp_path):
    pytest_socket.enable_socket()
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("WANDB_BASE_URL", running.url)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    mode.unreachable.clear()
    wandb.teardown()
    yield running
    wandb.teardown()
    mode.unreachable.clear()
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="session")
def records_of():
    """What the client's own reader prints of an offline run: its records, by type."""

    def read(folder, *, ended=True):
        found = {}
        for line in offline.read_to_the_end(folder) if ended else offline.read(folder):
            record = json.loads(line)
            found.setdefault(record["type"], []).append(record.get(record["type"]))
        return found

    return read


@pytest.fixture
def leaf():
    """A leaf's run by its record."""
    return lambda record: LeafRun(record=record, name="npo_gdr adamw rtn4")
