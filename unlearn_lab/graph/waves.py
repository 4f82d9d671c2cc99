"""Decides what a sweep builds in which order: trainings and shared stages first."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from unlearn_lab.graph.stage import Stage

KINDS = ("training", "quantizing", "evaluating")
"""Kinds of stages by the load on a machine, the most demanding first."""
_KIND = {
    **dict.fromkeys(("target", "retrain", "saliency", "unlearn"), "training"),
    **dict.fromkeys(("quantize", "export"), "quantizing"),
}
Has = Callable[[Stage], bool]
Goals = Mapping[int, Sequence[Stage]]
"""The final stages of each job, by job number: its record, or the stages that `until` names."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A stage to build on its own, and a job whose configuration contains it."""

    stage: Stage
    job: int


def kind(stage: Stage) -> str:
    """Returns the load that a stage is on a machine: one of `KINDS`."""
    return _KIND.get(stage.name, "evaluating")


def missing(goals: Iterable[Stage], has: Has) -> dict[str, Stage]:
    """Returns the stages to build for some goals, the goals included, inputs first.

    The inputs of a finished stage are not needed.
    """
    found, seen = dict[str, Stage](), set[str]()
    for goal in goals:
        _collect(goal, has, found, seen)
    return found


def most_demanding(stages: Iterable[Stage]) -> str:
    """Returns the most demanding kind among the stages that one job builds."""
    kinds = {kind(stage) for stage in stages}
    return next((name for name in KINDS if name in kinds), KINDS[-1])


def next_wave(goals: Goals, has: Has) -> list[Task]:
    """Returns the stages to build next, in parallel; empty once each job can build the rest itself.

    A stage is built on its own when two jobs would otherwise build it at the same time, or when it
    is the last training of a model. It is ready once no stage upstream of it is to be built on its
    own. Trainings come before other stages, so that no evaluation delays a training.
    """
    apart = _last_trainings(goals, has)
    while found := _contested(goals, apart, has):
        apart |= found
    ready = [
        task
        for task in apart.values()
        if not any(key in apart for key in missing([task.stage], has) if key != task.stage.key)
    ]
    training = [task for task in ready if _trains(task.stage)]
    return training or ready


def _trains(stage: Stage) -> bool:
    return kind(stage) == KINDS[0]


def _last_trainings(goals: Goals, has: Has) -> dict[str, Task]:
    """Returns missing trainings, goals aside, that no other starts from, with their first job."""
    found = dict[str, Task]()
    for job, ends in goals.items():
        training = {key: stage for key, stage in missing(ends, has).items() if _trains(stage)}
        inner = {below.key for stage in training.values() for below in stage.inputs.values()}
        inner |= {end.key for end in ends}
        for key, stage in training.items():
            if key not in inner:
                found.setdefault(key, Task(stage=stage, job=job))
    return found


def _contested(goals: Goals, apart: Mapping[str, Task], has: Has) -> dict[str, Task]:
    """Returns the most downstream stages that two jobs would build at once, given those `apart`."""
    below = {key: missing([task.stage], has).keys() for key, task in apart.items()}
    seen, found = dict[str, Task](), dict[str, Task]()
    jobs = [*goals.items(), *((task.job, (task.stage,)) for task in apart.values())]
    for job, ends in jobs:
        for key, stage in _own(ends, below, has).items():
            if key in seen:
                found[key] = seen[key]
            else:
                seen[key] = Task(stage=stage, job=job)
    lower = {
        key
        for task in found.values()
        for key in missing([task.stage], has)
        if key != task.stage.key
    }
    return {key: task for key, task in found.items() if key not in lower}


def _own(ends: Sequence[Stage], below: Mapping[str, Set[str]], has: Has) -> dict[str, Stage]:
    """Returns the stages that a job builds itself once those in `below` that it needs are built."""
    lacking = missing(ends, has)
    mine = {end.key for end in ends}
    theirs = {key for one in lacking.keys() & below.keys() - mine for key in below[one]}
    return {key: stage for key, stage in lacking.items() if key not in theirs}


def _collect(stage: Stage, has: Has, found: dict[str, Stage], seen: set[str]) -> None:
    if stage.key in seen:
        return
    seen.add(stage.key)
    if has(stage):
        return
    for needed in stage.inputs.values():
        _collect(needed, has, found, seen)
    found[stage.key] = stage
