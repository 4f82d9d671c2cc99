"""Prints a sweep's plan: stages to build and to reuse, estimated time, and waves."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_lab.graph.costs import Costs
from unlearn_lab.graph.stage import Stage, distinct
from unlearn_lab.graph.waves import Goals, Has, kind, missing, next_wave
from unlearn_lab.plan.changes import reasons
from unlearn_lab.report.terminal.closing import format_seconds, print_again, stage_table


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Numbers of stages of one name to build and to reuse, with a time estimate.

    Attributes:
        stage: the stage's name.
        build: number of stages to build.
        reuse: number of stages to reuse.
        seconds: estimated time of those to build, without the `unknown` ones.
        unknown: number of stages to build without an estimate: none like them was built before.
    """

    stage: str
    build: int
    reuse: int
    seconds: float
    unknown: int


@dataclass(frozen=True, kw_only=True)
class SweepForecast:
    """A sweep before it starts.

    Attributes:
        jobs: number of jobs, equal ones included.
        equal: number of jobs with the same stages to end with as an earlier one.
        lacking: number of jobs without a result yet.
        forecasts: one per stage name.
        waves: the launches in order, in words.
        again: why stages that were built before are rebuilt.
    """

    jobs: int
    equal: int
    lacking: int
    forecasts: Sequence[Forecast]
    waves: Sequence[str]
    again: Sequence[str] = ()


def forecast_sweep(
    goals: Goals, equal: int, has: Has, costs: Costs, prepared: Iterable[Stage] = ()
) -> SweepForecast:
    """Forecasts what the jobs still need.

    Args:
        goals: the stages that each job ends with, by its number.
        equal: number of further jobs with the same goals as one of these.
        has: whether a stage is finished.
        costs: time estimates from earlier builds.
        prepared: stages that the preflight has built.
    """
    lacking = missing(itertools.chain(*goals.values()), has)
    stages = distinct(itertools.chain(*goals.values())).values()
    found = [
        _forecast(name, [stage for stage in stages if stage.name == name], lacking, has, costs)
        for name in dict.fromkeys(stage.name for stage in stages)
    ]
    return SweepForecast(
        jobs=len(goals) + equal,
        equal=equal,
        lacking=sum(1 for ends in goals.values() if any(end.key in lacking for end in ends)),
        forecasts=[forecast for forecast in found if forecast.build or forecast.reuse],
        waves=list(_waves(goals, lacking)),
        again=reasons([*prepared, *lacking.values()], costs.cache),
    )


def _forecast(
    name: str, stages: Sequence[Stage], lacking: Mapping[str, Stage], has: Has, costs: Costs
) -> Forecast:
    wanted = [stage for stage in stages if stage.key in lacking]
    seconds = [costs.seconds(stage) for stage in wanted]
    known = [value for value in seconds if value is not None]
    return Forecast(
        stage=name,
        build=len(wanted),
        reuse=sum(1 for stage in stages if stage.key not in lacking and has(stage)),
        seconds=sum(known, 0.0),
        unknown=len(seconds) - len(known),
    )


def print_forecast(console: Console, forecast: SweepForecast) -> None:
    """Prints the plan of a sweep."""
    there = forecast.jobs - forecast.equal - forecast.lacking
    parts = [f"{forecast.jobs} job{'s' * (forecast.jobs != 1)}"]
    parts += [f"{forecast.equal} equal to another, not run"] if forecast.equal else []
    parts += [f"{there} with a result already"] if there else []
    console.print(Text("plan: " + ", ".join(parts), style="bold"))
    console.print(_table(forecast.forecasts))
    print_again(console, forecast.again)
    if forecast.waves:
        console.print(Text("waves: " + " → ".join(forecast.waves)))
    if any(stage.unknown for stage in forecast.forecasts):
        console.print(Text("?: nothing like it was built in this home before", style="dim"))


def _waves(goals: Goals, lacking: Mapping[str, Stage]) -> Iterator[str]:
    """Yields the launches in order, assuming that every build succeeds."""
    left = dict(lacking)

    def has(stage: Stage) -> bool:
        return stage.key not in left

    while tasks := next_wave(goals, has):
        kinds = dict.fromkeys(kind(task.stage) for task in tasks)
        yield f"{len(tasks)} {' and '.join(kinds)}"
        for key in missing([task.stage for task in tasks], has):
            del left[key]
    ends = sum(1 for stages in goals.values() if any(stage.key in left for stage in stages))
    if ends:
        yield f"{ends} {'leaf' if ends == 1 else 'leaves'}"


def _table(forecasts: Sequence[Forecast]) -> Table:
    table = stage_table("build", "reuse", "estimate")
    for one in forecasts:
        table.add_row(Text(one.stage), str(one.build), str(one.reuse), _estimate(one))
    total = Forecast(
        stage="total, one after the other",
        build=sum(one.build for one in forecasts),
        reuse=sum(one.reuse for one in forecasts),
        seconds=sum((one.seconds for one in forecasts), 0.0),
        unknown=sum(one.unknown for one in forecasts),
    )
    table.add_section()
    table.add_row(Text(total.stage), str(total.build), str(total.reuse), _estimate(total))
    return table


def _estimate(one: Forecast) -> str:
    if one.build == 0:
        return ""
    if one.unknown == one.build:
        return "?"
    return format_seconds(one.seconds) + (f" + {one.unknown} ?" if one.unknown else "")
