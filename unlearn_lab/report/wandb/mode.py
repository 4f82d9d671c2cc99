"""Decides whether runs are sent online, kept offline or not written at all."""

from typing import Literal

import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb.client import first_line, quiet_client

MODES = ("auto", "online", "offline", "disabled")
unreachable: dict[str, str] = {}
"""Servers that failed in this process, with the reason; later runs do not wait for them."""


def check_settings(settings: Wandb) -> None:
    """Raises `ValueError` for an unknown mode or a timeout that is not positive."""
    if settings.mode not in MODES:
        raise ValueError(f"report.wandb.mode={settings.mode}: use one of {', '.join(MODES)}")
    if settings.timeout <= 0:
        raise ValueError(f"report.wandb.timeout={settings.timeout}: use seconds, more than 0")


def choose_mode(asked: str) -> tuple[Literal["online", "offline", "disabled"], str]:
    """Returns the mode to try, and the reason if it is not online as might be expected.

    WANDB_MODE may lower `auto` and `online`. The key is looked up by `wandb.login(prompt=False)`,
    which neither prompts nor connects.
    """
    if asked == "offline":
        return "offline", ""
    ambient = quiet_client().mode
    if ambient == "disabled":
        return "disabled", "off, because WANDB_MODE=disabled"
    if ambient in ("offline", "dryrun"):
        return "offline", f"WANDB_MODE={ambient}"
    if server() in unreachable:
        return "offline", f"{unreachable[server()]} (an earlier run)"
    try:
        known = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        return "offline", f"the credentials were refused: {first_line(error)}"
    return ("online", "") if known else ("offline", "no API key is known")


def server() -> str:
    """Returns the address of the server that runs are sent to."""
    return quiet_client().base_url
