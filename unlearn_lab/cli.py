"""Runs the command line: Hydra's, with this project's configuration, sweeper and exit statuses."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from unlearn_lab import __version__
from unlearn_lab.config.conf_folder import settle
from unlearn_lab.config.deferred import deferred, without_null_options
from unlearn_lab.config.exits import (
    FAILED,
    INTERRUPTED,
    NO_ROOM,
    REFUSED,
    UNUSABLE,
    Finished,
    RequestRefused,
)
from unlearn_lab.config.hydra_setup import prepare
from unlearn_lab.config.libraries import missing_plugin
from unlearn_lab.config.nearest import suggestion
from unlearn_lab.config.paths import data_dir
from unlearn_lab.config.redaction import redact, reject_secrets_in_command
from unlearn_lab.config.spelling import moved, require_present_command
from unlearn_lab.execute.cores import num_jobs

if TYPE_CHECKING:
    from unlearn_lab.plan.request import JobRequest

_log = logging.getLogger(__name__)
_FULL = "HYDRA_FULL_ERROR"
_NOISE = ("full_key:", "object_type=", "reference_type=")


def main() -> None:
    """Runs the command line; exits with 0 (all leaves done), 1 (some failed) or 2 (refused).

    Ctrl-C ends it with 130 and SIGTERM with 143, as in shells, after claims are released.
    """
    _answer_at_once()
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)
    prepare(num_jobs)
    in_full = bool(os.environ.get(_FULL))
    os.environ[_FULL] = "1"  # makes Hydra raise its errors instead of printing them
    try:
        settle(sys.argv[1:])
        sys.argv[1:] = deferred(without_null_options(sys.argv[1:]))
        hydra.main(version_base="1.3", config_path=str(data_dir("conf")), config_name="config")(
            task
        )()
        _close_external_sweep()
    except (HydraException, OmegaConfBaseException) as error:
        if in_full:
            raise
        line = missing_plugin(str(error)) or moved(str(error))
        line = line or f"{_message(error)}{suggestion(str(error))}"
        sys.stderr.write(redact(f"{line}\n"))
        sys.exit(REFUSED)
    except ValueError:
        _close_external_sweep()  # from Optuna, when no trial of a study has a value
        raise
    except (KeyboardInterrupt, SystemExit) as leaving:
        # Lightning turns Ctrl-C into sys.exit
        if not isinstance(leaving.__context__ or leaving, KeyboardInterrupt):
            raise
        sys.stderr.write("interrupted; the same command resumes from here\n")
        sys.exit(INTERRUPTED)
    except OSError as error:
        if in_full or error.errno not in {*UNUSABLE, *NO_ROOM}:
            raise
        todo = "make room" if error.errno in NO_ROOM else "name another folder"
        sys.stderr.write(redact(f"runtime.home=: cannot be written to ({error}); {todo}\n"))
        sys.exit(FAILED if error.errno in NO_ROOM else REFUSED)
    finally:
        if not in_full:
            os.environ.pop(_FULL, None)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _answer_at_once() -> None:
    """Prints the version; refuses moved settings, and secrets before Hydra stores them."""
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"unlearn_lab {__version__}\n")
        sys.exit()
    try:
        reject_secrets_in_command(sys.argv[1:])
        require_present_command(sys.argv[1:])
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(REFUSED)


def _close_external_sweep() -> None:
    """Ends the process as this project's sweeper does, if another sweeper has run in it."""
    from unlearn_lab.execute.external_sweeper import close_external_sweep

    close_external_sweep()


def task(config: DictConfig) -> object:
    """Runs one job, in the process that the launcher starts; a single run also prints the table.

    Raises `RequestRefused` for a request that cannot be carried out, in a single run `Finished`;
    every other failure is in the returned outcome, so that the other jobs of a sweep continue.
    """
    from unlearn_lab.config.build import Refused
    from unlearn_lab.execute.external_sweeper import is_external, report_outcome, report_refusal

    hydra_config = HydraConfig.get()
    if hydra_config.verbose is True:
        logging.getLogger("unlearn_lab").setLevel(logging.DEBUG)
    choices = dict(hydra_config.runtime.choices)
    alone = hydra_config.mode == RunMode.RUN
    if alone:
        _log.info("1 job: %s", "planning" if config.dry else "checking settings, model and texts")
    try:
        if config.dry:
            return _show_plan(config, choices)
        from unlearn_lab.execute.job import request, run

        asked = request(config, choices)
    except Refused as error:
        if alone:  # Hydra would print the overrides before an exception
            _log.debug("the refusal in full", exc_info=error)
            sys.stderr.write(redact(f"{error}\n"))
            raise Finished(REFUSED) from error
        if is_external(hydra_config):
            report_refusal(str(error), hydra_config)
        raise RequestRefused(str(error)) from error
    again = _reasons(asked) if alone else []
    outcome = run(asked)
    if alone:
        from unlearn_lab.execute.ending import close

        close(
            [outcome],
            asked.values.runtime,
            asked.values.report,
            before=[],
            skipped=[],
            again=again,
        )
    if is_external(hydra_config):
        return report_outcome(outcome, asked.values.config["tune"], hydra_config)
    return outcome


def _reasons(asked: "JobRequest") -> list[str]:
    """Returns why stages of a single run are built again."""
    from unlearn_lab.graph.cache import is_whole
    from unlearn_lab.graph.waves import missing
    from unlearn_lab.plan.changes import reasons

    cache = asked.values.cache
    lacking = missing(asked.goals, lambda stage: is_whole(cache, stage))
    checked = [built.stage for built in asked.prepared.values()]
    return reasons([*checked, *lacking.values()], cache)


def _show_plan(config: DictConfig, choices: Mapping[str, str]) -> None:
    from unlearn_lab.execute.parts import plan_values
    from unlearn_lab.execute.sweep import Job, Sweep
    from unlearn_lab.plan.request import content_key, read_values

    values = read_values(config)
    asked = plan_values(values, choices, content_key(values))
    Sweep([Job.of((), asked)], values).announce(sys.stdout)


def _message(error: Exception) -> str:
    """Returns Hydra's message and its cause, without the lines about Hydra's own types."""
    texts = [str(error), *([str(error.__cause__)] if error.__cause__ is not None else [])]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    once = dict.fromkeys(line.rstrip() for line in lines)
    return "\n".join(line for line in once if not line.lstrip().startswith(_NOISE))
