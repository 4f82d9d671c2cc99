"""Decides what a sweep builds in which order: what trains or serves several jobs first."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from unlearn_lab.graph.stage import Stage

KINDS = ("training", "quantizing", "evaluating")
"""Kinds of stages by what they ask of a machine, the most demanding first."""
_KIND = {
    **dict.fromkeys(("target", "retrain", "saliency", "unlearn"), "training"),
    **dict.fromkeys(("quantize", "export"), "quantizing"),
}
Has = Callable[[Stage], bool]
Goals = Mapping[int, Sequence[Stage]]
"""What each job ends with, by its number: its record, or the stages that `until` names."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A stage that is built by itself, and a job whose configuration leads to it."""

    stage: Stage
    job: int


def kind(stage: Stage) -> str:
    """What the stage asks of a machine: one of `KINDS`."""
    return _KIND.get(stage.name, "evaluating")


def missing(goals: Iterable[Stage], has: Has) -> dict[str, Stage]:
    """What has to be built for some stages, themselves included, inputs first.

    A finished stage needs none of its inputs.
    """
    found, seen = dict[str, Stage](), set[str]()
    for goal in goals:
        _collect(goal, has, found, seen)
    return found


def most_demanding(stages: Iterable[Stage]) -> str:
    """The most demanding kind among stages that one job builds."""
    kinds = {kind(stage) for stage in stages}
    return next((name for name in KINDS if name in kinds), KINDS[-1])


def next_wave(goals: Goals, has: Has) -> list[Task]:
    """The stages to build next, at the same time: none once only the leaves are left.

    A stage is built by itself when two jobs would otherwise build it at the same time, or when it
    is the last training of a model. It is ready once nothing below it waits for a job of its own.
    Those that train come before the rest, so that no evaluation delays a training.
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
    """Missing trainings that no other training starts from, each with the first job that has it."""
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
    """The uppermost stages that two jobs would build at the same time, given what is apart."""
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
    """What a job builds itself, once the stages of `below` that it needs are there."""
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
