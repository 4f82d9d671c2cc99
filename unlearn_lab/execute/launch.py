"""Builds a stage in several worker processes under torchrun, which end with this process."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import unlearn_lab
from unlearn_lab.config.settings import Runtime
from unlearn_lab.config.trusted import trusted
from unlearn_lab.execute.worker_protocol import FACTS, FAILURE, BuildRequest, write_request
from unlearn_lab.graph.cache import Artifact, Facts, Interrupted
from unlearn_lab.graph.signals import SIGNALS, deliver
from unlearn_lab.graph.stage import Stage

_log = logging.getLogger(__name__)
_GRACE = 60.0
"""Seconds between SIGTERM and SIGKILL for torchrun, which gives its workers 30."""


class WorkersFailed(Exception):
    """A worker failed; the message is that of its error."""


class WorkersKilled(WorkersFailed):
    """A worker was killed by a signal: the training can be resumed."""


def build_in_processes(
    stage: Stage,
    inputs: Mapping[str, Artifact],
    work: Path,
    runtime: Runtime,
    watch: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> Facts:
    """Builds a stage with `runtime.devices` workers and returns the builder's facts.

    SIGUSR1, SIGUSR2, SIGTERM and an interrupt are forwarded as SIGTERM, on which the workers save a
    checkpoint, and take effect in this process once the workers have ended. If this process then
    continues, the workers are restarted. If this process is killed, their stdin closes and they
    exit. Raises `WorkersFailed` with the message of the first worker that failed, and `Interrupted`
    where one was killed.

    Args:
        stage: the stage to build.
        inputs: its input artifacts by role.
        work: folder to build in; may contain checkpoints to resume from.
        runtime: settings that do not affect the result.
        watch: the W&B run of the training, as plain values.
        scores: what scores its model, as plain values.
    """
    request = BuildRequest(
        stage=stage,
        inputs=inputs,
        work=work,
        runtime=runtime,
        trust=trusted(),
        watch=watch,
        scores=scores,
    )
    while True:
        passing = _Passing()
        try:
            with passing.on(SIGNALS):
                return _attempt(request, passing)
        except WorkersFailed as error:
            if not passing.received:
                if isinstance(error, WorkersKilled):
                    raise Interrupted(str(error)) from error
                raise
            _log.warning("the signal does not end this process: restarting the training processes")


def _attempt(request: BuildRequest, passing: "_Passing") -> Facts:
    with TemporaryDirectory(prefix="unlearn_lab_") as name:
        folder = Path(name)
        write_request(folder / "stage.json", request)
        with (folder / "log").open("wb") as log:
            process = _start(folder / "stage.json", request.runtime, log.fileno())
            passing.to(process)
            status = _await(process)
        if status == 0:
            return json.loads((folder / FACTS).read_text(encoding="utf-8"))
        raise _failure(folder, status)


def _start(request: Path, runtime: Runtime, log: int) -> subprocess.Popen[bytes]:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")
    worker = ("-m", "unlearn_lab.execute.worker", str(request), "--leave-with-parent")
    command = [sys.executable, *torchrun, f"--nproc-per-node={runtime.devices}", *worker]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches the workers through this process only
        env=os.environ | _environment(runtime),
    )


def _await(process: subprocess.Popen[bytes]) -> int:
    """Returns the exit status; on an exception, ends torchrun and its workers."""
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
        if process.stdin is not None:
            process.stdin.close()  # also ends workers that torchrun left running
        process.wait()


def _environment(runtime: Runtime) -> dict[str, str]:
    """Returns the workers' import path and number of threads."""
    package = str(Path(unlearn_lab.__file__).parents[1])
    found = os.environ.get("PYTHONPATH")
    shared = max(1, (os.cpu_count() or 1) // runtime.devices)
    threads = os.environ.get("OMP_NUM_THREADS", str(shared))
    return {
        "PYTHONPATH": f"{package}{os.pathsep}{found}" if found else package,
        "OMP_NUM_THREADS": threads if runtime.threads is None else str(runtime.threads),
    }


class _Passing:
    """Forwards signals to this process as SIGTERM to another; `received` lists them."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def on(self, numbers: Sequence[signal.Signals]) -> Iterator[None]:
        """Intercepts the signals; on exit, delivers each received one to its original handler."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python handles signals in the main thread only
            return
        before = {number: signal.getsignal(number) for number in numbers}
        heard = [n for n, handler in before.items() if handler not in (None, signal.SIG_IGN)]
        for number in heard:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, before[number])
            for number in self.received:
                deliver(number, before[signal.Signals(number)])

    def to(self, process: subprocess.Popen[bytes]) -> None:
        """Sets the process to terminate; at once if a signal has already arrived."""
        self._process = process
        if self.received:
            process.terminate()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if self._process is not None:
            self._process.terminate()


def _failure(folder: Path, status: int) -> WorkersFailed:
    """Returns the error of the worker that failed first, else torchrun's or the log's last line."""
    pattern = FAILURE.format(rank="*")
    failures = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(pattern)]
    if failures:
        first = min(failures, key=lambda failure: failure["time"])
        _log.debug("%s", first["stack"])
        return WorkersFailed(first["message"])
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    _log.debug("%s", log)
    found = re.search(r"exitcode\s*:\s*(-?\d+)", log)
    number = None if found is None else _signal_of(int(found[1]))
    if number is not None:
        return WorkersKilled(
            f"a process of the training was ended by {number.name}"
            + ("; SIGKILL often means out of memory" if number == signal.SIGKILL else "")
        )
    lines = [line for line in log.splitlines() if line.strip()] or [f"exit status {status}"]
    last = lines[-1].strip()
    return WorkersFailed(f"the processes of the training ended with status {status}: {last}")


def _signal_of(status: int) -> signal.Signals | None:
    """Returns the signal encoded in an exit status: -n, or 128 + n as in shells."""
    number = -status if status < 0 else status - 128
    return signal.Signals(number) if number in set(signal.Signals) else None
