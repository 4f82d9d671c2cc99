"""A W&B server that refuses, hangs or breaks costs a bounded wait and no result."""

import os
import pty
import shutil
import socket
import socketserver
import threading
import time

import pytest
import pytest_socket

from tests.faults.conftest import SWEEP
from tests.faults.outcome import records

KEY = "0123456789" * 4


class Broken(socketserver.StreamRequestHandler):
    """Answers whatever it is asked with an error of its own."""

    def handle(self):
        self.rfile.readline()
        body = b"the database is away"
        head = f"HTTP/1.1 500 Internal Server Error\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)


class Hanging(socketserver.StreamRequestHandler):
    """Takes the question and never answers."""

    def handle(self):
        self.rfile.readline()
        self.server.closing.wait()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.closing = threading.Event()


@pytest.fixture
def serve():
    """Starts a real server of a kind; its port. Without a kind, a port where nobody listens."""
    pytest_socket.enable_socket()
    running = []

    def make(kind):
        if kind is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                return free.getsockname()[1]
        server = Server(kind)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return server.server_address[1]

    yield make
    for server in running:
        server.closing.set()
        server.shutdown()
        server.server_close()


def online(tmp_path, port):
    """The environment of somebody with a key for that server, and with no file of this machine."""
    return {
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / "netrc"),
        "WANDB_CONFIG_DIR": str(tmp_path / "wandb-config"),
        "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", [None, Broken, Hanging], ids=["refuses", "500", "hangs"])
def test_a_server_that_takes_nothing_delays_the_sweep_and_does_not_fail_it(
    start, whole, serve, tmp_path, kind
):
    """Two leaves wait once: two seconds to start, two to finish, and the client's own closing."""
    home = tmp_path / "home"
    shutil.copytree(whole, home)
    environment = online(tmp_path, serve(kind)) | {"WANDB_API_KEY": KEY}
    sending = ("report.wandb.mode=auto", "report.wandb.timeout=2")
    started = time.monotonic()
    running = start(*SWEEP, *sending, name="sent", home=home, environment=environment)
    assert running.wait() == 0, running.err
    assert time.monotonic() - started < 240  # 10 on an idle machine
    assert "leaves: 2 done, 0 failed" in running.out
    assert f"kept offline, send with: wandb sync {home}/wandb/" in running.out
    assert "Traceback" not in running.err + running.out
    assert KEY not in running.err + running.out
    kept = list((home / "wandb").glob("offline-run-*/*.wandb"))
    assert len(kept) == 2 + 3 + 1  # results, trainings, the sweep
    assert records(home) == records(whole)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "online"])
def test_on_a_terminal_nobody_is_asked_to_log_in(start, whole, serve, tmp_path, mode):
    home = tmp_path / "home"
    shutil.copytree(whole, home)
    ours, theirs = pty.openpty()
    shown = []

    def watch():
        try:
            while text := os.read(ours, 4096):
                shown.append(text)
        except OSError:  # the terminal's other end is closed
            return

    reader = threading.Thread(target=watch, daemon=True)
    reader.start()
    running = start(
        *SWEEP,
        f"report.wandb.mode={mode}",
        name="on a terminal",
        home=home,
        environment=online(tmp_path, serve(None)) | {"TERM": "xterm"},
        terminal=os.ttyname(theirs),
    )
    status = running.wait()
    os.close(theirs)
    reader.join(5)
    os.close(ours)
    screen = b"".join(shown).decode()
    assert status == 0, screen
    assert "no API key is known; kept offline" in screen
    for word in ("Choose", "choice", "paste", "wandb.ai/authorize", "Traceback"):
        assert word not in screen
