"""The settings with which the W&B client runs: quiet, with time limits, without code."""

import os
from dataclasses import dataclass
from pathlib import Path

import wandb

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


def under_an_agent() -> bool:
    """Whether a W&B sweep agent has started this process, and named the run to write."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))
