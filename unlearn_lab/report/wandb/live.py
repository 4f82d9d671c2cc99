"""Sends a training to Weights & Biases while it runs: one run per training stage."""

import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import wandb

from unlearn_lab.report.wandb.client import (
    DELETED,
    SUFFIXES,
    attempt,
    start_run,
    under_an_agent,
)
from unlearn_lab.report.wandb.mode import choose_mode, server, unreachable
from unlearn_lab.report.wandb.training_run import (
    Sent,
    TrainingRun,
    place_of,
    read_sent,
    write_sent,
)
from unlearn_lab.unlearn.training.curve import Point, read_curve
from unlearn_lab.unlearn.training.steps import read_steps

_log = logging.getLogger(__name__)
STEP, EPOCH = "train/step", "watch/epoch"


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
        self._points: list[Point] = []
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
        url = self._run.url or ""
        self._sent = Sent(place=place, last=-1, complete=False, url=url)
        if known is not None and known.place == place:
            self._sent = dataclasses.replace(self._sent, last=known.last, scored=known.scored)

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

    def scores(self, point: Point) -> None:
        """Sends the scores after an epoch with the next step; skips those that were sent before."""
        self._points.append(point)

    def _log(self, step: int, figures: Mapping[str, float]) -> None:
        row = {STEP: step, **{f"train/{name}": value for name, value in figures.items()}}
        self._send(step, row, self._next_point())

    def _next_point(self) -> Point | None:
        new = [point for point in self._points if point.epoch > self._sent.scored]
        self._points = new[1:]
        return new[0] if new else None

    def _send(self, step: int, row: Mapping[str, float | int], point: Point | None) -> None:
        scored = self._sent.scored
        if point is not None:
            row, scored = {**row, **_scores(point)}, point.epoch

        def log(run: wandb.Run) -> None:
            run.log(dict(row), step=step, commit=True)
            self._keep(last=step, scored=scored, complete=False)

        self._guarded(log)

    def end(self, *, complete: bool) -> None:
        """Ends the run; waits at most the settings' timeout for its upload."""
        if self._pending is not None:
            self._log(*self._pending)
            self._pending = None
        while complete and self._run is not None and (point := self._next_point()) is not None:
            self._send(self._sent.last + 1, {}, point)

        def finish(run: wandb.Run) -> None:
            if complete and not run.offline:
                run.log_artifact(artifact_of(self._training))
            run.finish(exit_code=0 if complete else 1)
            self._keep(last=self._sent.last, scored=self._sent.scored, complete=complete)

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

    def _keep(self, *, last: int, scored: int, complete: bool) -> None:
        self._sent = dataclasses.replace(self._sent, last=last, scored=scored, complete=complete)
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
        run.define_metric("watch/*", step_metric=EPOCH)
        return run


def _scores(point: Point) -> dict[str, float | int]:
    """Returns the scores after an epoch as W&B shows them."""
    named = {"full": point.full, "quantized": point.quantized}
    figures = {f"{how}/{name}": one for how, row in named.items() for name, one in row.items()}
    return {EPOCH: point.epoch, **{f"watch/{name}": value for name, value in figures.items()}}


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


def send_training(training: TrainingRun, folder: Path) -> Sent | None:
    """Sends a training that ran while W&B was off, from its own file; returns what is known of it.

    Args:
        training: the training.
        folder: the folder of its artifact.
    """
    mode, _ = choose_mode(training.settings.mode)
    known = read_sent(training)
    place = place_of(training, offline=mode == "offline")
    if known is not None and known.complete and known.place == place:
        return known
    live = LiveTraining(training, interval=0.0)
    live.begin()
    curve = read_curve(folder)
    for point in () if curve is None else curve.points:
        live.scores(point)
    for row in read_steps(folder):
        live.step(int(row["step"]), {name: value for name, value in row.items() if name != "step"})
    live.end(complete=True)
    return read_sent(training)
