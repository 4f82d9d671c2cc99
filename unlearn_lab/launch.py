"""Builds a stage in several processes, started by torchrun and ended with this one."""

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

import unlearn_lab
from unlearn_lab.graph.cache import Artifact, Facts, Interrupted
from unlearn_lab.graph.stage import Stage
from unlearn_lab.handover import FACTS, FAILURE, Order, write_order
from unlearn_lab.settings import Runtime
from unlearn_lab.signals import SIGNALS, deliver

_log = logging.getLogger(__name__)
_GRACE = 60.0
"""Seconds between asking the processes to end and ending them; torchrun itself gives them 30."""


class WorkersFailed(Exception):
    """A process of the training failed; the message is that of its error."""


def build_in_processes(
    stage: Stage, inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> Facts:
    """Builds `stage` in `work` with `runtime.devices` processes and returns the builder's facts.

    SIGUSR1, SIGUSR2, SIGTERM and an interrupt are passed on as SIGTERM, on which the processes keep
    a checkpoint, and take effect here once these have ended. Should this process be killed, they
    notice by their standard input and end too. Raises `WorkersFailed` with the message of the first
    of them that failed.
    """
    with _passing_on(SIGNALS) as started, TemporaryDirectory(prefix="unlearn_lab_") as name:
        folder = Path(name)
        order = Order(stage=stage, inputs=inputs, work=work, runtime=runtime)
        write_order(folder / "stage.json", order)
        with (folder / "log").open("wb") as log:
            process = _start(folder / "stage.json", runtime, log.fileno())
            started.append(process)
            status = _await(process)
        if status == 0:
            return json.loads((folder / FACTS).read_text(encoding="utf-8"))
        raise WorkersFailed(_reason(folder, status))


def _start(order: Path, runtime: Runtime, log: int) -> subprocess.Popen[bytes]:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")
    worker = ("-m", "unlearn_lab.worker", str(order), "--leave-with-parent")
    command = [sys.executable, *torchrun, f"--nproc-per-node={runtime.devices}", *worker]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | _environment(runtime),
    )


def _await(process: subprocess.Popen[bytes]) -> int:
    """Its exit status; whatever happens meanwhile, nothing is left running."""
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
            process.stdin.close()  # which also ends what torchrun could not
        process.wait()


def _environment(runtime: Runtime) -> dict[str, str]:
    """Where the processes find this package, and how many threads each may use."""
    package = str(Path(unlearn_lab.__file__).parents[1])
    found = os.environ.get("PYTHONPATH")
    shared = max(1, (os.cpu_count() or 1) // runtime.devices)
    threads = os.environ.get("OMP_NUM_THREADS", str(shared))
    return {
        "PYTHONPATH": f"{package}{os.pathsep}{found}" if found else package,
        "OMP_NUM_THREADS": threads if runtime.threads is None else str(runtime.threads),
    }


@contextmanager
def _passing_on(numbers: Sequence[signal.Signals]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Meanwhile signals to this process end those in the list; at the end they act here.

    Raises `Interrupted` where the handler from before lets this process go on: the training can
    be gone on with.
    """
    processes, received = list[subprocess.Popen[bytes]](), list[int]()
    if threading.current_thread() is not threading.main_thread():
        yield processes  # Python tells signals to the main thread only
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in processes:
            process.terminate()

    before = {number: signal.getsignal(number) for number in numbers}
    heard = [n for n, handler in before.items() if handler not in (None, signal.SIG_IGN)]
    for number in heard:
        signal.signal(number, pass_on)
    try:
        yield processes
    finally:
        for number in heard:
            signal.signal(number, before[number])
        if received:
            number = signal.Signals(received[0])
            deliver(number, before[number])
            raise Interrupted(
                f"the training's processes were ended by {number.name}; the same command goes on"
            )


def _reason(folder: Path, status: int) -> str:
    """The message of the process that failed first; else what torchrun or the last line says."""
    pattern = FAILURE.format(rank="*")
    told = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(pattern)]
    if told:
        first = min(told, key=lambda failure: failure["time"])
        _log.debug("%s", first["stack"])
        return first["message"]
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    _log.debug("%s", log)
    killed = re.search(r"exitcode\s*:\s*-(\d+)", log)
    if killed:
        name = signal.Signals(int(killed[1])).name
        return f"a process of the training was killed by {name}; SIGKILL often means out of memory"
    lines = [line for line in log.splitlines() if line.strip()] or [f"exit status {status}"]
    return f"the processes of the training ended with status {status}: {lines[-1].strip()}"
