"""Sends a training to Weights & Biases while it runs: one run per training stage."""

import dataclasses
import functools
import json
import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb.client import (
    DELETED,
    ID_LENGTH,
    SUFFIXES,
    attempt,
    start_run,
    under_an_agent,
)
from unlearn_lab.report.wandb.mode import choose_mode, server, unreachable

_log = logging.getLogger(__name__)
STEP = "train/step"


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The run of one training; plain values, so that a worker process can be given them.

    Attributes:
        key: the stage's key; its first digits are the run's id.
        name: display name.
        group: name of the sweep that trains it.
        tags: tags.
        config: the stage's parameters.
        home: the sweep's `runtime.home`.
        settings: `report.wandb`.
    """

    key: str
    name: str
    group: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    home: str
    settings: Wandb

    def as_plain(self) -> dict[str, Any]:
        """Returns the run as JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "TrainingRun":
        """Returns the run that `as_plain` has written."""
        tags, settings = tuple(values["tags"]), Wandb(**values["settings"])
        return cls(**{**values, "tags": tags, "settings": settings})

    @property
    def id(self) -> str:
        """Id of the W&B run."""
        return self.key[:ID_LENGTH]

    @property
    def state_path(self) -> Path:
        """File that says what has been sent."""
        return Path(self.home) / "wandb" / "trainings" / f"{self.id}.json"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What has been sent of a training.

    Attributes:
        place: where: the server, entity and project, or the folder of offline runs.
        last: its last step; -1 if there is none.
        complete: whether the training had ended.
        url: the run's address; empty offline.
    """

    place: str
    last: int
    complete: bool
    url: str


class LiveTraining:
    """Watches a training (see `unlearn.training.watcher`) and logs its figures to W&B.

    An error of W&B or the network is logged and ends the watching, never the training: then the
    leaf sends the run from the training's own file. Steps that an interrupted training repeats are
    sent once, because a resume is bit-identical.

    Args:
        training: the training's run.
        interval: least seconds between two steps that are sent: sending one takes 2 ms, a step of
            a small model 15. The last step is always sent.
    """

    def __init__(self, training: TrainingRun, interval: float = 0.1) -> None:
        self._training = training
        self._interval = interval
        self._logged = -math.inf
        self._pending: tuple[int, Mapping[str, float]] | None = None
        self._run: wandb.Run | None = None
        self._sent = Sent(place="", last=-1, complete=False, url="")

    def begin(self) -> None:
        """Starts or resumes the run; offline where W&B cannot be reached."""
        asked = self._training.settings.mode
        mode, _ = ("disabled", "") if asked == "disabled" else choose_mode(asked)
        if mode == "disabled" or under_an_agent():
            return
        if mode == "online":
            self._run = self._online()
        if self._run is None:
            started = attempt(lambda: self._start("offline", ""))
            self._run = None if isinstance(started, str) else started
        if self._run is None:
            return
        place = place_of(self._training, offline=self._run.offline)
        known = read_sent(self._training)
        last = known.last if known is not None and known.place == place else -1
        self._sent = Sent(place=place, last=last, complete=False, url=self._run.url or "")

    def _online(self) -> wandb.Run | None:
        """Starts the run online, under another id where this one was deleted there."""
        error = ""
        for suffix in SUFFIXES:
            started = attempt(functools.partial(self._start, "online", suffix))
            if not isinstance(started, str):
                return started
            error = started
            if DELETED not in error:
                break
        unreachable[server()] = f"online failed: {error}"
        return None

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Sends one step; skips those that an earlier attempt has sent, or that come too soon."""
        if self._run is None or step <= self._sent.last:
            return
        now = time.monotonic()
        if now - self._logged < self._interval:
            self._pending = step, figures
            return
        self._logged, self._pending = now, None
        self._log(step, figures)

    def _log(self, step: int, figures: Mapping[str, float]) -> None:
        row = {STEP: step, **{f"train/{name}": value for name, value in figures.items()}}

        def log(run: wandb.Run) -> None:
            run.log(row, step=step, commit=True)
            self._keep(last=step, complete=False)

        self._guarded(log)

    def end(self, *, complete: bool) -> None:
        """Ends the run; waits at most the settings' timeout for its upload."""
        if self._pending is not None:
            self._log(*self._pending)
            self._pending = None

        def finish(run: wandb.Run) -> None:
            if complete and not run.offline:
                run.log_artifact(artifact_of(self._training))
            run.finish(exit_code=0 if complete else 1)
            self._keep(last=self._sent.last, complete=complete)

        self._guarded(finish)
        self._run = None

    def _guarded(self, action: Callable[[wandb.Run], None]) -> None:
        """Runs an action on the run, if there is one; gives up watching on an error."""
        run = self._run
        if run is None:
            return
        error = attempt(lambda: action(run))
        if error is not None:
            _log.warning("W&B: %s is no longer sent: %s", self._training.name, error)
            self._run = None

    def _keep(self, *, last: int, complete: bool) -> None:
        self._sent = dataclasses.replace(self._sent, last=last, complete=complete)
        write_sent(self._training, self._sent)

    def _start(self, mode: str, suffix: str) -> wandb.Run:
        training, settings = self._training, self._training.settings
        run = start_run(
            mode=mode,
            home=training.home,
            timeout=settings.timeout,
            system_metrics=True,
            id=training.id + suffix,
            resume="allow",
            project=settings.project,
            entity=settings.entity,
            name=training.name,
            group=training.group,
            job_type="train",
            tags=list(training.tags),
            config=dict(training.config),
        )
        run.define_metric(STEP)
        run.define_metric("train/*", step_metric=STEP)
        return run


def watcher_of(training: TrainingRun) -> LiveTraining | None:
    """Returns the watcher that sends a training while it runs; None if W&B is off."""
    return None if training.settings.mode == "disabled" else LiveTraining(training)


def artifact_of(training: TrainingRun) -> wandb.Artifact:
    """Returns the artifact that stands for a training: what it was built from, without weights.

    Equal contents are one version on the server, so that a leaf that uses it is linked to the run
    that has logged it.
    """
    found = wandb.Artifact(name=f"training-{training.id}", type="training")
    with found.new_file("training.json", mode="w") as file:
        json.dump(training.config, file, indent=1, sort_keys=True)
    return found


def place_of(training: TrainingRun, *, offline: bool) -> str:
    """Returns where the run of a training is sent to."""
    settings = training.settings
    if offline:
        return str((Path(training.home) / "wandb").absolute())
    return f"{server()}/{settings.entity or ''}/{settings.project}"


def read_sent(training: TrainingRun) -> Sent | None:
    """Returns what has been sent of a training; None if nothing has."""
    try:
        return Sent(**json.loads(training.state_path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_sent(training: TrainingRun, sent: Sent) -> None:
    """Stores what has been sent, atomically."""
    path = training.state_path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_text(json.dumps(vars(sent)), encoding="utf-8")
    os.replace(draft, path)


def send_training(
    training: TrainingRun, rows: Callable[[], Iterable[Mapping[str, float]]]
) -> Sent | None:
    """Sends a training that ran while W&B was off, from its own file; returns what is known of it.

    Args:
        training: the training.
        rows: returns one mapping per step, with `step`.
    """
    mode, _ = choose_mode(training.settings.mode)
    known = read_sent(training)
    place = place_of(training, offline=mode == "offline")
    if known is not None and known.complete and known.place == place:
        return known
    live = LiveTraining(training, interval=0.0)
    live.begin()
    for row in rows():
        live.step(int(row["step"]), {name: value for name, value in row.items() if name != "step"})
    live.end(complete=True)
    return read_sent(training)
