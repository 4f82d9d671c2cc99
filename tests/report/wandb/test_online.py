"""The real W&B client against a small server that answers as W&B does."""

import gzip
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import pytest_socket
import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb import sink as wandb_sink


class Server(ThreadingHTTPServer):
    """Knows ids that were deleted, and may never end an upload."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.deleted = set()
        self.stalled = False
        self.runs = []
        self.streamed = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format, *args):
        pass

    def do_PUT(self):
        self._body()
        self._reply(200, {})

    def do_GET(self):
        self._reply(200, {})

    def do_POST(self):
        body = self._body()
        if self.path != "/graphql":
            if self.path.endswith("file_stream"):
                self.server.streamed.append(body)
                if self.server.stalled:
                    time.sleep(30)
            return self._reply(200, {})
        operation = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
        answer = getattr(self, f"_{operation[1]}" if operation else "", None)
        return answer(body["variables"]) if answer else self._reply(200, {"data": {}})

    def _RunResumeStatus(self, _):  # noqa: N802
        self._reply(200, {"data": {"model": {"id": "1", "name": "p", "bucket": None,
                                             "entity": {"id": "1", "name": "me"}}}})  # fmt: skip

    def _UpsertBucket(self, variables):  # noqa: N802
        name = variables["name"]
        if name in self.server.deleted:
            message = f"run {name} was previously created and deleted; try a new run name"
            error = {"message": message, "path": ["upsertBucket"]}
            return self._reply(409, {"data": {"upsertBucket": None}, "errors": [error]})
        self.server.runs.append(variables)
        project = {"id": "1", "name": "p", "entity": {"id": "1", "name": "me"}}
        bucket = {"id": "1", "name": name, "displayName": "x", "config": "{}",
                  "historyLineCount": 0, "project": project}  # fmt: skip
        return self._reply(200, {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}})

    def _CreateRunFiles(self, variables):  # noqa: N802
        files = [{"name": n, "uploadUrl": f"{self.server.url}/up/{n}"} for n in variables["files"]]
        created = {"runID": "1", "uploadHeaders": [], "files": files}
        self._reply(200, {"data": {"createRunFiles": created}})

    def _body(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        try:
            return json.loads(raw)
        except ValueError:
            return {}

    def _reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


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
    monkeypatch.setattr(wandb_sink, "_unreachable", {})
    wandb.teardown()
    yield running
    wandb.teardown()
    running.shutdown()
    running.server_close()


def settings(timeout=10.0):
    return Wandb(mode="auto", project="unlearn_lab", entity=None, timeout=timeout)


def test_a_leaf_becomes_a_run_of_its_id_and_group(server, make_record, tmp_path):
    record = make_record()
    result = wandb_sink.send(record, tmp_path, settings(), [{"step": 0, "loss": 2.5}])
    run_id = record["run_id"][:16]
    assert result.status == "online"
    assert result.line == f"sent to {server.url}/me/p/runs/{run_id}"
    assert server.runs[0]["name"] == run_id
    assert server.runs[0]["groupName"] == "headline"
    assert '"train/loss":2.5' in json.dumps(server.streamed).replace("\\", "")
    assert "71.3" in json.dumps(server.streamed)


def test_a_deleted_id_gets_a_suffix(server, make_record, tmp_path):
    record = make_record()
    run_id = record["run_id"][:16]
    server.deleted = {run_id}
    result = wandb_sink.send(record, tmp_path, settings(timeout=3.0), [])
    assert result.status == "online"
    assert result.line == (
        f"sent to {server.url}/me/p/runs/{run_id}-2 "
        "(this run was deleted there, so its id now ends in -2)"
    )


def test_an_upload_that_does_not_end_is_left_on_disk(server, make_record, tmp_path):
    server.stalled = True
    started = time.monotonic()
    result = wandb_sink.send(make_record(), tmp_path, settings(timeout=2.0), [])
    assert time.monotonic() - started < 15
    assert result.status == "offline"
    assert "the upload is incomplete" in result.line
    assert str(result.path) in result.line
    assert result.path is not None
    assert list(result.path.glob("run-*.wandb"))
