"""Stores the heat map of what came back on a W&B server, as a Vega chart."""

import hashlib
import json
from pathlib import Path
from typing import Any

import wandb

from unlearn_lab.report.wandb.mode import server

TABLE = "recovery"
"""Key of a sweep run's table with the columns `FIELDS`."""
FIELDS = ("metric", "model", "quantizer", "share", "leaves")
"""Metric, model without its seed, quantizer, mean recovered share (1 = all), number of leaves."""


def store(entity: str, home: Path) -> str:
    """Stores the chart under the entity, once; returns its name for panels.

    A name cannot be stored twice, so it contains the chart's digest, and a file below `home/wandb`
    says on which servers it was stored. Raises what W&B raises.
    """
    name, place = chart_name(entity), f"{server()}/{entity}"
    path = home / "wandb" / f"{name.rpartition('/')[2]}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if place in known:
        return name
    wandb.Api().create_custom_chart(
        entity=entity,
        name=name.rpartition("/")[2],
        display_name="unlearn_lab: how much came back",
        spec_type="vega2",
        access="private",
        spec=spec(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*known, place]), encoding="utf-8")
    return name


def chart_name(entity: str) -> str:
    """Returns the chart's name on the server."""
    digest = hashlib.sha256(json.dumps(spec(), sort_keys=True).encode()).hexdigest()
    return f"{entity}/unlearn_lab_recovery_{digest[:8]}"


def spec() -> dict[str, Any]:
    """Returns the chart in Vega-Lite: a panel per metric, models by quantizers, shares as cells."""
    field = {name: f"${{field:{name}}}" for name in FIELDS}
    place = {
        "x": {"field": field["quantizer"], "type": "nominal", "title": None},
        "y": {"field": field["model"], "type": "nominal", "title": None},
    }
    share = {"field": field["share"], "type": "quantitative"}
    scale = {"scheme": "cividis", "domain": [0, 1], "clamp": True}
    dark = {"test": f"datum['{field['share']}'] < 0.55", "value": "white"}
    shades = {"scale": scale, "legend": {"format": ".0%"}, "title": "came back"}
    tooltips = [{"field": field[name], "title": name} for name in FIELDS]
    cells: dict[str, Any] = {
        "mark": "rect",
        "encoding": {**place, "color": {**share, **shades}, "tooltip": tooltips},
    }
    numbers: dict[str, Any] = {
        "mark": "text",
        "encoding": {
            **place,
            "text": {**share, "format": ".0%"},
            "color": {"condition": dark, "value": "black"},
        },
    }
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"name": "wandb"},
        "facet": {"column": {"field": field["metric"], "type": "nominal", "title": None}},
        "spec": {"width": {"step": 60}, "height": {"step": 28}, "layer": [cells, numbers]},
    }
