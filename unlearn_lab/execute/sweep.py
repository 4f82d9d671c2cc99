"""Schedules a sweep from its plan to its closing table, independent of the launcher."""

import itertools
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from unlearn_lab.config.deferred import parsed
from unlearn_lab.config.exits import RequestRefused
from unlearn_lab.graph.cache import Artifact, is_whole
from unlearn_lab.graph.costs import Costs
from unlearn_lab.graph.lease import lease
from unlearn_lab.graph.stage import Stage, distinct
from unlearn_lab.graph.waves import KINDS, kind, missing, most_demanding, next_wave
from unlearn_lab.plan.request import JobRequest, Values
from unlearn_lab.record.outcome import Outcome, checked, failed
from unlearn_lab.report.terminal.closing import FailedLeaf
from unlearn_lab.report.terminal.planned import forecast_sweep, print_forecast
from unlearn_lab.report.terminal.table import open_console

_log = logging.getLogger(__name__)


_IN_LABEL = ("model", "dataset", "method", "optimizer", "quant", "seed")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of a sweep.

    Attributes:
        overrides: its Hydra overrides.
        label: its choices, in words.
        goals: the stages that it ends with.
        prepared: artifacts that its preflight has built, by key.
    """

    overrides: Sequence[str]
    label: str
    goals: tuple[Stage, ...]
    prepared: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])

    @classmethod
    def of(cls, overrides: Sequence[str], asked: JobRequest) -> "Job":
        """Creates the job of a request."""
        return cls(
            overrides=overrides, label=asked.label, goals=asked.goals, prepared=asked.prepared
        )


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One job to start.

    Attributes:
        job: the job's number in the sweep.
        overrides: its Hydra overrides, with `until`.
        kind: which resources it needs, one of `KINDS`.
        stage: the stage that it ends with; None for a leaf.
    """

    job: int
    overrides: Sequence[str]
    kind: str
    stage: Stage | None


class Sweep:
    """Schedules a sweep: returns the next wave and records outcomes.

    Of jobs that end with the same stages, only the first is run. `values` are those of any job;
    the home and the report settings are used.
    """

    def __init__(self, jobs: Sequence[Job], values: Values) -> None:
        self._jobs = jobs
        self._values = values
        self._skipped = dict[int, int]()
        self._goals = dict[int, tuple[Stage, ...]]()
        self._built = set[str]()
        self._before = list[Outcome]()
        self._leaves = dict[int, Outcome]()
        self._last = False
        self._again: Sequence[str] = ()
        first = dict[tuple[str, ...], int]()
        for number, job in enumerate(jobs):
            keys = tuple(goal.key for goal in job.goals)
            if keys in first:
                self._skipped[number] = first[keys]
            else:
                first[keys] = number
                self._goals[number] = job.goals

    def announce(self, stream: Any) -> None:
        """Prints the plan: stages to build and to reuse, estimates, waves."""
        costs = Costs(self._values.cache)
        prepared = [built.stage for job in self._jobs for built in job.prepared.values()]
        forecast = forecast_sweep(self._goals, len(self._skipped), self._looker(), costs, prepared)
        self._again = forecast.again
        print_forecast(open_console(stream), forecast)

    def kept(self) -> AbstractContextManager[None]:
        """Marks all stages of the sweep as in use, so that a concurrent prune keeps them."""
        keys = distinct(itertools.chain(*self._goals.values()))
        return lease(self._values.cache, keys, self._values.timeouts)

    def next_launches(self) -> list[Launch]:
        """Returns the jobs to start now; empty once the sweep is over."""
        if self._last:
            return []
        open_goals = {job: ends for job, ends in self._goals.items() if job not in self._leaves}
        has = self._looker()
        tasks = next_wave(open_goals, has)
        if tasks:
            return [self._launch(task.job, kind(task.stage), task.stage) for task in tasks]
        self._last = True
        return [
            self._launch(job, most_demanding(missing(ends, has).values()), None)
            for job, ends in open_goals.items()
        ]

    def take(self, launch: Launch, outcome: Outcome) -> None:
        """Records the outcome of a job; a failed stage fails the leaves that need it."""
        outcome = replace(outcome, label=self._label(launch.job))
        self._built |= outcome.built.keys()  # not `reused`, which includes stages never opened
        if launch.stage is None:
            self._leaves[launch.job] = outcome
            return
        self._before.append(outcome)
        if outcome.failure is None:
            self._built.add(launch.stage.key)
            return
        has = self._looker()
        for job, ends in self._goals.items():
            if launch.stage.key in missing(ends, has):
                self._leaves.setdefault(job, failed(self._label(job), outcome.failure))

    def close(self) -> None:
        """Prints the table, writes the report; raises `Finished` with the exit status."""
        from unlearn_lab.execute.ending import close

        skipped = [
            FailedLeaf(leaf=self._named(job), reason=f"the same result as {self._named(other)}")
            for job, other in self._skipped.items()
        ]
        outcomes = [self._leaves[job] for job in sorted(self._leaves)]
        values, prepared = self._values, [checked(job.prepared) for job in self._jobs]
        close(
            outcomes,
            values.runtime,
            values.report,
            before=[*self._before, *prepared],
            skipped=skipped,
            again=self._again,
        )

    def _label(self, job: int) -> str:
        """Returns the job's choices, and other overrides that not all jobs of the sweep share."""
        shared = set[str].intersection(*(set(other.overrides) for other in self._jobs))
        further = [
            override
            for override in self._jobs[job].overrides
            if override not in shared and override.split("=")[0] not in _IN_LABEL
        ]
        return " ".join([self._jobs[job].label, *further])

    def _named(self, job: int) -> str:
        return f"#{job} {' '.join(self._jobs[job].overrides)}".rstrip()

    def _launch(self, job: int, of_kind: str, stage: Stage | None) -> Launch:
        overrides = list(self._jobs[job].overrides)
        ends = self._goals[job] if stage is None else (stage,)
        if len(ends) == 1:  # a worker that plans another key refuses
            overrides = [*overrides, f"until='{ends[0].key[:16]}'"]
        return Launch(job=job, overrides=overrides, kind=of_kind, stage=stage)

    def _looker(self) -> Any:
        """Returns a cached test whether a stage is finished, which trusts the jobs' outcomes."""
        root, seen = self._values.cache, dict[str, bool]()

        def has(stage: Stage) -> bool:
            if stage.key not in seen:
                seen[stage.key] = stage.key in self._built or is_whole(root, stage)
            return seen[stage.key]

        return has


def require_sweepable(arguments: Sequence[str], resources: Mapping[str, Any]) -> None:
    """Raises `RequestRefused` for swept presets or homes and for unknown kinds of resources."""
    for argument in arguments:
        override = parsed(argument)
        if override is None or not override.is_sweep_override():
            continue
        if override.key_or_group in ("grid", "cluster"):
            raise RequestRefused(f"{argument}: presets cannot be swept over; run them one by one")
        if override.key_or_group == "runtime.home":
            raise RequestRefused(f"{argument}: a sweep has one home; run it once for each")
    for name in resources:
        if name not in KINDS:
            known = ", ".join(KINDS)
            raise RequestRefused(
                f"hydra.sweeper.resources.{name}: unknown kind of stage; must be one of {known}"
            )


def grouped(
    launches: Sequence[Launch], resources: Mapping[str, Any], size: int | None
) -> Iterator[list[Launch]]:
    """Groups launches whose kinds have the same resources.

    Args:
        launches: the launches of a wave.
        resources: launcher settings by kind.
        size: maximum size of a group, None for no limit.
    """
    by_need = dict[str, list[Launch]]()
    for launch in launches:
        by_need.setdefault(repr(resources.get(launch.kind, {})), []).append(launch)
    for group in by_need.values():
        step = size or len(group)
        yield from (group[start : start + step] for start in range(0, len(group), step))


def outcome_of(result: JobReturn) -> Outcome:
    """Returns the outcome of a job; an unexpected exception becomes its failure."""
    if result.status is JobStatus.COMPLETED:
        return result.return_value
    error = result._return_value
    _log.debug("the job failed", exc_info=error)
    return failed("", f"{type(error).__name__}: {error}")


def dead_workers() -> tuple[type[Exception], ...]:
    """Returns what launchers raise when a process ends without a result or cannot start."""
    ray = sys.modules.get("ray.exceptions")
    return (RuntimeError, OSError, EOFError, ImportError, *((ray.RayError,) if ray else ()))
