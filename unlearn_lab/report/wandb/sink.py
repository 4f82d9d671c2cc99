"""Decides how a leaf is sent to Weights & Biases: online, offline or not at all."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.record.side_files import read_sides
from unlearn_lab.report.wandb.client import (
    DELETED,
    SUFFIXES,
    Destination,
    attempt,
    first_line,
    under_an_agent,
)
from unlearn_lab.report.wandb.live import send_training
from unlearn_lab.report.wandb.mode import (
    check_settings,
    choose_mode,
    server,
    unreachable,
)
from unlearn_lab.report.wandb.payload import Content, content_of
from unlearn_lab.report.wandb.run import LeafRun, UploadFailedError, deliver
from unlearn_lab.report.wandb.training_run import TrainingRun

_WHOLE = "written-whole"


@dataclass(frozen=True, kw_only=True)
class SinkResult:
    """How a record was sent.

    Attributes:
        status: what happened.
        line: the same for the user, in one line; empty if disabled by the configuration.
        path: the local run folder, if any.
        url: the run's address; empty unless it was sent.
    """

    status: Literal["online", "offline", "disabled", "failed"]
    line: str
    path: Path | None
    url: str


def send(
    leaf: LeafRun,
    home: Path,
    settings: Wandb,
    trainings: Mapping[str, tuple[TrainingRun, Path]],
) -> SinkResult:
    """Sends one leaf as one run; sending it again for the same sweep updates the run.

    Mode `auto` is online when an API key is known (environment, netrc, W&B's own settings). Never
    prompts, and never raises for an error of W&B or the network: if online fails, the run is
    written offline below `<home>/wandb`, and the result's line says so. Waits at most
    `settings.timeout` seconds each for start and upload; this process does not retry a server that
    failed. Trainings that ran while W&B was off are sent first. Raises `ValueError` as
    `check_settings` does.

    Args:
        leaf: the leaf's record and name.
        home: the sweep's `runtime.home`.
        settings: `report.wandb`.
        trainings: the trainings it stands on, by role, each with the folder of its artifact.
    """
    check_settings(settings)
    if settings.mode == "disabled":
        return SinkResult(status="disabled", line="", path=None, url="")
    home.mkdir(parents=True, exist_ok=True)
    destination = Destination(
        home=home, project=settings.project, entity=settings.entity, timeout=settings.timeout
    )
    links = attempt(lambda: _linked(trainings))
    known = {} if isinstance(links, str) else links
    content = content_of(leaf.record, read_sides(home, leaf.record), known)
    result = attempt(lambda: _send(leaf, content, destination, settings.mode))
    if isinstance(result, str):
        line = f"failed, and no offline run was written either: {result}"
        return SinkResult(status="failed", line=line, path=None, url="")
    return result


def _linked(trainings: Mapping[str, tuple[TrainingRun, Path]]) -> dict[str, dict[str, str]]:
    """Sends the trainings that were not; returns id and address of each run, by role."""
    found = dict[str, dict[str, str]]()
    for role, (training, folder) in trainings.items():
        sent = None if under_an_agent() else send_training(training, folder)
        found[role] = {"id": training.id, "url": "" if sent is None else sent.url}
    return found


def _send(leaf: LeafRun, content: Content, destination: Destination, asked: str) -> SinkResult:
    mode, why = choose_mode(asked)
    if mode == "disabled":
        return SinkResult(status="disabled", line=why, path=None, url="")
    if mode == "online":
        result = attempt(lambda: _send_online(leaf, content, destination))
        if isinstance(result, SinkResult):
            return result
        why = f"online failed: {result}"
        unreachable[server()] = why
    folder = _kept_before(leaf, destination.home)
    if folder is None:
        folder, _ = deliver(leaf, content, destination, mode="offline", suffix="")
        (folder / _WHOLE).touch()
    every_run = f"{shlex.quote(str(folder.parent))}/offline-run-*"
    return _kept(folder, why, every_run)


def _kept_before(leaf: LeafRun, home: Path) -> Path | None:
    """Returns a complete offline run of this sweep: the same id means the same figures."""
    found = sorted((home / "wandb").glob(f"offline-run-*-{leaf.id}/{_WHOLE}"))
    return found[-1].parent if found else None


def _send_online(leaf: LeafRun, content: Content, destination: Destination) -> SinkResult:
    """Tries id suffixes in turn while W&B reports that a run with the id was deleted.

    The client retries such a request until it times out, so each deleted id costs one timeout.
    """
    for suffix in SUFFIXES:
        try:
            folder, url = deliver(leaf, content, destination, mode="online", suffix=suffix)
        except UploadFailedError as error:
            why = f"the upload is incomplete: {first_line(error)}"
            return _kept(error.folder, why, shlex.quote(str(error.folder)))
        except wandb.Error as error:
            if DELETED not in str(error) or suffix == SUFFIXES[-1]:
                raise
            continue
        note = f" (this run was deleted there, so its id now ends in {suffix})" if suffix else ""
        return SinkResult(status="online", line=f"sent to {url}{note}", path=folder, url=url)
    raise RuntimeError("no suffix was tried")


def _kept(folder: Path, why: str, paths: str) -> SinkResult:
    reason = f"{why}; " if why else ""
    line = f"{reason}kept offline, send with: wandb sync {paths}"
    return SinkResult(status="offline", line=line, path=folder, url="")
