"""Worker process of a stage that several processes build together.

`torchrun --standalone --nproc-per-node N -m unlearn_lab.execute.worker stage.json` builds the stage
in that file (see `worker_protocol`), with N = `runtime.devices`, and writes the builder's facts
next to it. Lightning's own launcher is not used: it would rerun the command line, and with it the
sweep, in every process.
"""

import argparse
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unlearn_lab.config.build import locate
from unlearn_lab.config.exits import FAILED, REFUSED
from unlearn_lab.config.trusted import trust
from unlearn_lab.execute.worker_protocol import FACTS, FAILURE, BuildRequest, read_request
from unlearn_lab.plan.changes import require_planned_code


def main(arguments: Sequence[str]) -> int:
    """Builds the stage; returns 2, with one line on stderr, for an invalid request."""
    parser = argparse.ArgumentParser(prog="unlearn_lab.execute.worker", description=__doc__)
    parser.add_argument("request", type=Path, help="the stage to build, a JSON file")
    parser.add_argument(
        "--leave-with-parent", action="store_true", help="end when the standard input is closed"
    )
    asked = parser.parse_args(arguments)
    if asked.leave_with_parent:
        threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        request = read_request(asked.request)
        trust(request.trust)
        builder = locate(request.stage.builder, request.stage.name)
        _require_ranks(request)
        require_planned_code(request.stage)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    _build(request, builder, asked.request.parent)
    return 0


def _build(request: BuildRequest, builder: Callable[..., Any], folder: Path) -> None:
    """Runs the builder; a failure is written to a file and ends the process at once.

    Other ranks may be blocked in a collective, and torchrun ends them only after this process.
    """
    from unlearn_lab.execute.observed import observed
    from unlearn_lab.report.wandb.training_run import TrainingRun
    from unlearn_lab.unlearn.ranks import is_first, joined

    shown = None if request.watch is None else TrainingRun.from_plain(request.watch)
    try:
        with joined(request.runtime), observed(shown, request.scores):
            facts = builder(request.stage.params, request.inputs, request.work, request.runtime)
            if is_first():
                (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    except Exception as error:  # reported to the job, then raised again
        rank = os.environ.get("RANK", "0")
        failure = {
            "time": time.time(),
            "message": str(error) or type(error).__name__,
            "stack": traceback.format_exc(),
        }
        (folder / FAILURE.format(rank=rank)).write_text(json.dumps(failure), encoding="utf-8")
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        if "RANK" in os.environ:
            os._exit(FAILED)
        raise


def _require_ranks(request: BuildRequest) -> None:
    started, wanted = int(os.environ.get("WORLD_SIZE", "1")), request.runtime.devices
    if started != wanted:
        raise ValueError(
            f"runtime.devices={wanted}: {started} processes were started; must be as many as "
            f"torchrun's --nproc-per-node"
        )


def _leave_with_parent() -> None:
    """Exits when stdin closes: a pipe shared by all ranks that closes when the job dies."""
    while os.read(0, 1):
        pass
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
