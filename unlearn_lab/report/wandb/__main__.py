"""`python -m unlearn_lab.report.wandb`: a W&B workspace or report for the runs of a project."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearn_lab.config.exits import FAILED, REFUSED
from unlearn_lab.config.libraries import require
from unlearn_lab.config.redaction import redact
from unlearn_lab.record.results import read_records, read_sweeps

_LIBRARY = "wandb-workspaces"


def main(arguments: Sequence[str] | None = None) -> None:
    """Saves the dashboard and prints its address, or prints what would be saved."""
    asked = _parser().parse_args(arguments)
    try:
        require(_LIBRARY)
        _require_known(asked.sweep, asked.home)
    except ValueError as error:
        sys.stderr.write(f"{redact(str(error))}\n")
        sys.exit(REFUSED)
    from unlearn_lab.report.wandb import dashboard, heat_map
    from unlearn_lab.report.wandb.client import attempt

    records = read_records(asked.home, asked.sweep)

    def show() -> None:
        entity = asked.entity or _default_entity()
        chart = heat_map.chart_name(entity) if asked.json else stored_chart(entity, asked.home)
        what = dashboard.shown(entity, asked.project, asked.sweep, records, chart)
        made = dashboard.workspace(what) if asked.kind == "workspace" else dashboard.report(what)
        if asked.json:
            sys.stdout.write(json.dumps(payload(made), indent=1) + "\n")
            return
        made.save()
        sys.stdout.write(f"{made.url}\n")

    error = attempt(show)
    if error is not None:
        sys.stderr.write(redact(f"{asked.kind}: not saved ({error})\n"))
        sys.exit(FAILED)


def payload(made: Any) -> dict[str, Any]:
    """Returns what is sent to the server for a workspace or report, as plain values."""
    model = made._to_model()
    return json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))


def stored_chart(entity: str, home: Path) -> str | None:
    """Stores the heat map on the server; returns its name, or None, with one line, without it."""
    from unlearn_lab.report.wandb import heat_map
    from unlearn_lab.report.wandb.client import attempt

    names = list[str]()
    error = attempt(lambda: names.append(heat_map.store(entity, home)))
    if error is not None:
        sys.stderr.write(redact(f"heat map: not stored ({error}); sweeps' drawings are shown\n"))
    return names[0] if names else None


def _require_known(sweep: str | None, home: Path) -> None:
    """Raises `ValueError` for a sweep that the home does not have."""
    if sweep is not None and sweep not in (known := read_sweeps(home)):
        there = ", ".join(known) or "none at all"
        raise ValueError(f"--sweep={sweep}: no sweep of {home}; there are {there}")


def _default_entity() -> str:
    """Returns the account's default entity."""
    import wandb

    return wandb.Api().default_entity or ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unlearn_lab.report.wandb",
        description="Saves a W&B workspace or report: what came back, forgetting against utility, "
        "choices and scores, and the trainings; runs grouped by training, coloured by verdict.",
    )
    parser.add_argument("kind", choices=("workspace", "report"))
    parser.add_argument("--project", default="unlearn_lab", help="default: %(default)s")
    parser.add_argument("--entity", help="W&B user or team (default: the account's)")
    parser.add_argument("--sweep", metavar="NAME", help="runs of this sweep only")
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("UNLEARN_LAB_HOME", "lab")),
        help="folder whose records say which metrics to show (default: $UNLEARN_LAB_HOME or lab)",
    )
    parser.add_argument("--json", action="store_true", help="print what would be saved, and stop")
    return parser


if __name__ == "__main__":
    main()
