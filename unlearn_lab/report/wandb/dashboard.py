"""Builds W&B workspaces and reports for the runs of a project (library wandb-workspaces)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wandb_workspaces import expr
from wandb_workspaces.reports.v2 import interface as wr
from wandb_workspaces.workspaces import interface as ws

from unlearn_lab.record.leaf import Record, memories, text, title, utility
from unlearn_lab.report.html.drawing import VERDICT_COLOURS
from unlearn_lab.report.wandb import heat_map

_CHOICES = ("method", "optimizer", "quant", "model", "dataset", "seed")
_LOSSES = ("train/loss", "train/loss_forget", "train/loss_retain", "train/gradient_norm")
_TITLE = "unlearn_lab: what was forgotten, and what came back"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a dashboard shows.

    Attributes:
        entity: W&B user or team.
        project: W&B project.
        sweep: name of the only sweep to show; None for all runs of the project.
        memories: metrics of what is left of the forget set.
        utility: the metric of utility; None without one.
        colours: colour of each training's runs by (key of the training, verdict).
        chart: name of the stored heat map (see `heat_map`); None: the drawing of each sweep's run
            stands for it.
    """

    entity: str
    project: str
    sweep: str | None
    memories: tuple[str, ...]
    utility: str | None
    colours: dict[tuple[str, str], str]
    chart: str | None = None


def shown(
    entity: str,
    project: str,
    sweep: str | None,
    records: Sequence[Record],
    chart: str | None = None,
) -> Shown:
    """Returns what a dashboard shows of these records; without any, MUSE's metrics."""
    keys = {(text(one, "stages.unlearn"), text(one, "verdict")) for one in records}
    colours = {key: VERDICT_COLOURS[key[1]] for key in sorted(keys) if key[1] in VERDICT_COLOURS}
    useful = [name for one in records if (name := utility(one)) is not None]
    return Shown(
        entity=entity,
        project=project,
        sweep=sweep,
        memories=memories(*records) if records else memories({}),
        utility=useful[0] if useful else utility({}),
        colours=colours,
        chart=chart,
    )


def workspace(asked: Shown) -> ws.Workspace:
    """Returns a workspace: runs grouped by training and coloured by verdict, and all panels."""
    sections = [
        ws.Section(name=name, panels=panels, is_open=True) for name, panels in _panels(asked)
    ]
    paths: dict[object, object] = {
        ws.GroupPath(*path): colour for path, colour in asked.colours.items()
    }
    return ws.Workspace(
        entity=asked.entity,
        project=asked.project,
        name="unlearn_lab" if asked.sweep is None else asked.sweep,
        sections=sections,
        runset_settings=ws.RunsetSettings(
            filters=[] if asked.sweep is None else expr.And(expr.Metric("Group") == asked.sweep),
            groupby=[expr.Config("stages.unlearn"), expr.Summary("verdict")],
            group_colors=paths,
            pinned_columns=["summary:verdict", *(f"config:choices.{one}" for one in _CHOICES[:3])],
        ),
    )


def report(asked: Shown) -> wr.Report:
    """Returns a report with the same panels, results and trainings apart."""
    results, trainings = (_runset(asked, kind) for kind in ("eval", "train"))
    sweeps = _runset(asked, "sweep")
    blocks: list[Any] = []
    of_section = {"What came back": [results, sweeps], "Trainings": [trainings]}
    for name, panels in _panels(asked):
        grid = wr.PanelGrid(runsets=of_section.get(name, [results]), panels=panels)
        blocks += [wr.H2(text=name), grid]
    return wr.Report(
        entity=asked.entity, project=asked.project, title=_TITLE, blocks=blocks, width="fluid"
    )


def _runset(asked: Shown, kind: str) -> wr.Runset:
    """Returns the runs of one job type, of the sweep if one is chosen."""
    of_sweep = [] if asked.sweep is None else [expr.Metric("Group") == asked.sweep]
    return wr.Runset(
        entity=asked.entity,
        project=asked.project,
        name=kind,
        filters=expr.And(expr.Metric("JobType") == kind, *of_sweep),
    )


def _panels(asked: Shown) -> list[tuple[str, list[Any]]]:
    """Returns the sections with their panels."""
    back: list[Any] = [_heat_map(asked.chart)]
    back += [
        wr.ScatterPlot(
            title=f"{title(metric)}: full precision (x), quantized (y)",
            x=_score("full", metric),
            y=_score("quantized", metric),
        )
        for metric in asked.memories
    ]
    useful = asked.utility
    pareto = (
        []
        if useful is None
        else [
            wr.ScatterPlot(
                title=f"{title(metric)} (y, low: forgotten), {title(useful)} (x, high: useful)",
                x=_score("full", useful),
                y=_score("full", metric),
            )
            for metric in asked.memories
        ]
    )
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(f"choices.{one}")) for one in _CHOICES]
    scores = [
        wr.ParallelCoordinatesPlotColumn(
            _score(kind, metric), display_name=f"{title(metric)} {kind}"
        )
        for metric in (*asked.memories, *([] if useful is None else [useful]))
        for kind in ("full", "quantized")
    ]
    both = wr.ParallelCoordinatesPlot(title="choices and scores", columns=[*columns, *scores])
    curves = [wr.LinePlot(title=name, x="train/step", y=[name]) for name in _LOSSES]
    curves += [
        wr.LinePlot(
            title=f"{title(metric)} by epoch",
            x="watch/epoch",
            y=[f"watch/full/{metric}", f"watch/quantized/{metric}"],
        )
        for metric in (*asked.memories, *([] if useful is None else [useful]))
    ]
    return [
        ("What came back", back),
        ("Forgetting and utility", [*pareto, both]),
        ("Trainings", curves),
    ]


def _heat_map(chart: str | None) -> Any:
    """Returns the panel of what came back, from the runs of sweeps."""
    if chart is None:
        return wr.MediaBrowser(title="how much came back", media_keys=["came_back"])
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": heat_map.TABLE}},
        chart_name=chart,
        chart_fields={name: name for name in heat_map.FIELDS},
    )


def _score(precision: str, metric: str) -> wr.SummaryMetric:
    return wr.SummaryMetric(f"scores.unlearned.{precision}.{metric}")
