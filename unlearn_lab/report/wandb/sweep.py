"""Sends a whole sweep as one W&B run: its table, how much came back, and the report."""

import functools
import hashlib
import logging
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import wandb

from unlearn_lab.config.settings import Wandb
from unlearn_lab.record.leaf import Record, memories, shown_metrics, text, title
from unlearn_lab.record.verdict import VerdictThresholds
from unlearn_lab.report.html.drawings import Drawings, drawn_of
from unlearn_lab.report.rows import Row, build_rows, key_headings
from unlearn_lab.report.share_grid import share_grid
from unlearn_lab.report.wandb import heat_map
from unlearn_lab.report.wandb.client import ID_LENGTH, attempt, start_run, under_an_agent
from unlearn_lab.report.wandb.mode import choose_mode
from unlearn_lab.report.wandb.payload import Table

_log = logging.getLogger(__name__)


def send_sweep(
    records: Sequence[Record],
    home: Path,
    settings: Wandb,
    thresholds: VerdictThresholds,
    report: Path | None,
) -> str:
    """Sends the run of a sweep, in the group of its leaves; returns where to look, in one line.

    The line is empty where nothing was sent: W&B is off, a W&B agent has started this process, or
    an error, which is logged. If online fails, the run is kept offline. Waits as `sink.send` does.

    Args:
        records: the records that the sweep ended with.
        home: the sweep's `runtime.home`.
        settings: `report.wandb`.
        thresholds: thresholds between verdicts.
        report: the HTML report; None without one.
    """
    asked = settings.mode
    mode, why = ("disabled", "") if asked == "disabled" else choose_mode(asked)
    if mode == "disabled" or under_an_agent():
        return ""
    send = functools.partial(_send, records, home, settings, thresholds, report)
    sent = attempt(lambda: send(mode))
    if isinstance(sent, str) and mode == "online":
        why = f"online failed: {sent}"
        sent = attempt(lambda: send("offline"))
    if isinstance(sent, str):
        _log.warning("W&B: the sweep's own run was not sent: %s", sent)
        return ""
    folder, url = sent
    if not url:
        every_run = f"{shlex.quote(str(folder.parent))}/offline-run-*"
        return f"{f'{why}; ' if why else ''}kept offline, send with: wandb sync {every_run}"
    project, group = url.partition("/runs/")[0], quote(text(records[0], "sweep"), safe="")
    return f"{project}, this sweep: {project}/groups/{group}"


def _send(
    records: Sequence[Record],
    home: Path,
    settings: Wandb,
    thresholds: VerdictThresholds,
    report: Path | None,
    mode: str,
) -> tuple[Path, str]:
    """Writes the run; returns its folder, and its address ("" when offline)."""
    name = text(records[0], "sweep")
    run = start_run(
        mode=mode,
        home=home,
        timeout=settings.timeout,
        id=hashlib.sha256(f"sweep {name}".encode()).hexdigest()[:ID_LENGTH],
        resume="allow",
        project=settings.project,
        entity=settings.entity,
        name=name,
        group=name,
        job_type="sweep",
    )
    folder, url = Path(run.dir).parent, run.url or ""
    columns, rows = summary_table(records, thresholds)
    shown: dict[str, Any] = {"results": wandb.Table(columns=columns, data=rows)}
    leaves = [row.record for row in build_rows(records, thresholds) if row.who == "unlearned"]
    drawing = Drawings(report).draw("plots.recovery_map", drawn_of(leaves))
    if drawing is not None:
        shown["came_back"] = wandb.Html(drawing)
        shown[heat_map.TABLE] = wandb.Table(
            columns=list(heat_map.FIELDS), data=recovery_table(records)
        )
    if report is not None:
        shown["report"] = wandb.Html(report.read_text(encoding="utf-8"))
    run.log(shown)
    verdicts = Counter(text(record, "verdict") for record in records)
    run.summary.update({"leaves": len(records), "verdicts": dict(verdicts)})
    run.finish()
    return folder, url


def recovery_table(records: Sequence[Record]) -> list[Any]:
    """Returns the rows of the heat map, with columns `heat_map.FIELDS`."""
    rows = list[Any]()
    for metric in memories(*records):
        grid = share_grid(records, metric)
        for (model, quantizer), shares in grid.shares.items():
            known = [share for share in shares if share is not None]
            mean = sum(known) / len(known) if known else None
            rows.append([title(metric), model, quantizer, mean, len(shares)])
    return rows


def summary_table(records: Sequence[Record], thresholds: VerdictThresholds) -> Table:
    """Returns columns and rows of the table that a sweep ends with."""
    metrics, known = shown_metrics(records), memories(*records)
    columns = [
        *key_headings(records),
        "verdict",
        *(f"{title(metric)} ({kind})" for metric in metrics for kind in ("full", "quantized")),
        *(f"{title(metric)} back" for metric in known),
    ]
    return list(columns), [_cells(row, metrics, known) for row in build_rows(records, thresholds)]


def _cells(row: Row, metrics: Sequence[str], known: Sequence[str]) -> list[Any]:
    scores = [value for metric in metrics for value in row.scores(metric)]
    shares = [row.share(metric) for metric in known]
    return [*row.labels, row.verdict or "control", *scores, *shares]
