"""Decides how a leaf is sent to Weights & Biases: online, offline or not at all."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.record.leaf import Record, text
from unlearn_lab.record.side_files import read_sides
from unlearn_lab.report.wandb.payload import Content, content_of
from unlearn_lab.report.wandb.run import (
    ID_LENGTH,
    Destination,
    UploadFailedError,
    deliver,
    quiet_client,
)

_log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")

_SUFFIXES = ("", "-2", "-3", "-4")
_WHOLE = "written-whole"
_DELETED = "previously created and deleted"
_unreachable: dict[str, str] = {}
"""Servers that failed in this process, with the reason; later leaves do not wait for them."""


@dataclass(frozen=True, kw_only=True)
class SinkResult:
    """How a record was sent.

    Attributes:
        status: what happened.
        line: the same for the user, in one line; empty if disabled by the configuration.
        path: the local run folder, if any.
    """

    status: Literal["online", "offline", "disabled", "failed"]
    line: str
    path: Path | None


def check_settings(settings: Wandb) -> None:
    """Raises `ValueError` for an unknown mode or a timeout that is not positive."""
    if settings.mode not in MODES:
        raise ValueError(f"report.wandb.mode={settings.mode}: use one of {', '.join(MODES)}")
    if settings.timeout <= 0:
        raise ValueError(f"report.wandb.timeout={settings.timeout}: use seconds, more than 0")


def send(
    record: Record, home: Path, settings: Wandb, curves: Sequence[Mapping[str, object]]
) -> SinkResult:
    """Sends one leaf as one run, named by the first 16 digits of its id; sending again updates it.

    Mode `auto` is online when an API key is known (environment, netrc, W&B's own settings). Never
    prompts, and never raises for an error of W&B or the network: if online fails, the run is
    written offline below `<home>/wandb`, and the result's line says so. Waits at most
    `settings.timeout` seconds each for start and upload; this process does not retry a server that
    failed. Raises `ValueError` as `check_settings` does.

    Args:
        record: the leaf's record.
        home: the sweep's `runtime.home`.
        settings: `report.wandb`.
        curves: one mapping per training step (`step`, `loss`, ...); may be empty.
    """
    check_settings(settings)
    if settings.mode == "disabled":
        return SinkResult(status="disabled", line="", path=None)
    content = content_of(record, read_sides(home, record), curves)
    destination = Destination(
        home=home, project=settings.project, entity=settings.entity, timeout=settings.timeout
    )
    home.mkdir(parents=True, exist_ok=True)
    result = _attempt(lambda: _send(record, content, destination, settings.mode))
    if isinstance(result, str):
        line = f"failed, and no offline run was written either: {result}"
        return SinkResult(status="failed", line=line, path=None)
    return result


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
    if _server() in _unreachable:
        return "offline", f"{_unreachable[_server()]} (an earlier leaf)"
    try:
        known = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        return "offline", f"the credentials were refused: {_first_line(error)}"
    return ("online", "") if known else ("offline", "no API key is known")


def _send(record: Record, content: Content, destination: Destination, asked: str) -> SinkResult:
    mode, why = choose_mode(asked)
    if mode == "disabled":
        return SinkResult(status="disabled", line=why, path=None)
    if mode == "online":
        result = _attempt(lambda: _send_online(record, content, destination))
        if isinstance(result, SinkResult):
            return result
        why = f"online failed: {result}"
        _unreachable[_server()] = why
    folder = _kept_before(record, destination.home)
    if folder is None:
        folder, _ = deliver(record, content, destination, mode="offline", suffix="")
        (folder / _WHOLE).touch()
    every_run = f"{shlex.quote(str(folder.parent))}/offline-run-*"
    return _kept(folder, why, every_run)


def _kept_before(record: Record, home: Path) -> Path | None:
    """Returns an earlier sweep's complete offline run: the same id means the same figures."""
    name = text(record, "run_id")[:ID_LENGTH]
    found = sorted((home / "wandb").glob(f"offline-run-*-{name}/{_WHOLE}"))
    return found[-1].parent if found else None


def _send_online(record: Record, content: Content, destination: Destination) -> SinkResult:
    """Tries id suffixes in turn while W&B reports that a run with the id was deleted.

    The client retries such a request until it times out, so each deleted id costs one timeout.
    """
    for suffix in _SUFFIXES:
        try:
            folder, url = deliver(record, content, destination, mode="online", suffix=suffix)
        except UploadFailedError as error:
            why = f"the upload is incomplete: {_first_line(error)}"
            return _kept(error.folder, why, shlex.quote(str(error.folder)))
        except wandb.Error as error:
            if _DELETED not in str(error) or suffix == _SUFFIXES[-1]:
                raise
            continue
        note = f" (this run was deleted there, so its id now ends in {suffix})" if suffix else ""
        return SinkResult(status="online", line=f"sent to {url}{note}", path=folder)
    raise RuntimeError("no suffix was tried")


def _attempt(action: Callable[[], SinkResult]) -> SinkResult | str:
    """Returns the result of `action`, or the client's error in one line."""
    try:
        return action()
    # The client raises its own, pydantic's, protobuf's and asyncio's classes without a common
    # base. None of them may cost a finished result; each is reported to the user.
    except Exception as error:  # noqa: BLE001
        _log.debug("W&B", exc_info=True)
        return _first_line(error)


def _kept(folder: Path, why: str, paths: str) -> SinkResult:
    reason = f"{why}; " if why else ""
    line = f"{reason}kept offline, send with: wandb sync {paths}"
    return SinkResult(status="offline", line=line, path=folder)


def _server() -> str:
    return quiet_client().base_url


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
