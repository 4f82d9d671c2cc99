"""The settings with which the W&B client runs: quiet, with time limits, without code."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import wandb

_log = logging.getLogger(__name__)
Result = TypeVar("Result")
ID_LENGTH = 16
"""Hex digits of a key in the id of its W&B run; the run's config has all 64."""

SUFFIXES = ("", "-2", "-3", "-4")
"""Tried in turn behind an id, while W&B reports that a run with it was deleted."""
DELETED = "previously created and deleted"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where runs are written and sent.

    Attributes:
        home: local runs are written below `home/wandb`.
        project: W&B project.
        entity: W&B user or team; None for the account's default.
        timeout: seconds each for start and upload.
    """

    home: Path
    project: str
    entity: str | None
    timeout: float


def quiet_client() -> wandb.Settings:
    """Starts the client without console output; returns its settings, with WANDB_* applied.

    Unless WANDB_ERROR_REPORTING is set, also turns off the client's reports on its own errors and
    timings, which it would send to W&B even in offline mode.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return wandb.setup(wandb.Settings(silent=True)).settings


def client_settings(timeout: float, *, system_metrics: bool) -> wandb.Settings:
    """Returns quiet, time-limited settings without code and git.

    Args:
        timeout: seconds each for start and upload.
        system_metrics: whether to record what this process and its devices are doing.
    """
    return wandb.Settings(
        silent=True,
        console="off",
        init_timeout=timeout,
        finish_timeout=timeout,
        finish_timeout_raises=True,
        use_dot_wandb=False,
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_stats=not system_metrics,
    )


def start_run(
    *,
    mode: str,
    home: Path | str,
    timeout: float,
    system_metrics: bool = False,
    requirements: bool = True,
    **identity: Any,
) -> wandb.Run:
    """Starts a run below `home/wandb`; raises what the client raises.

    Args:
        mode: online or offline.
        home: the sweep's `runtime.home`; created if it is missing.
        timeout: seconds each for start and upload.
        system_metrics: whether to record what this process and its devices are doing.
        requirements: whether to list the installed packages (a quarter of a second); the runs of
            trainings and sweeps do.
        identity: further arguments of `wandb.init`: id, name, group, configuration and so on.
    """
    Path(home).mkdir(parents=True, exist_ok=True)
    quiet_client()
    settings = client_settings(timeout, system_metrics=system_metrics)
    if not requirements:
        settings.x_save_requirements = False
    try:
        return wandb.init(
            mode=cast("Any", mode),
            dir=str(home),
            settings=settings,
            reinit="create_new",
            **identity,
        )
    except Exception:
        # Otherwise the client's service keeps the id reserved: "run ID is in use".
        wandb.teardown()
        raise


def attempt(action: Callable[[], Result]) -> Result | str:
    """Returns the result of `action`, or its error in one line.

    The client raises its own, pydantic's, protobuf's and asyncio's classes without a common base,
    and none of them may cost a training or a finished result: the callers report each.
    """
    try:
        return action()
    except Exception as error:  # noqa: BLE001
        _log.debug("W&B", exc_info=True)
        return first_line(error)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def under_an_agent() -> bool:
    """Whether a W&B sweep agent has started this process, and named the run to write."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))
