"""Writes the run of one leaf with the W&B client, with time limits on start and upload."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import wandb

from unlearn_lab.record.leaf import Record, text
from unlearn_lab.report.wandb.client import (
    ID_LENGTH,
    Destination,
    attempt,
    start_run,
    under_an_agent,
)
from unlearn_lab.report.wandb.live import artifact_of
from unlearn_lab.report.wandb.payload import Content
from unlearn_lab.report.wandb.training_run import TrainingRun


class UploadFailedError(Exception):
    """A complete run could not be uploaded in time; its local copy is in `folder`."""

    def __init__(self, folder: Path, reason: str) -> None:
        """Stores the local run folder, with the reason as message."""
        super().__init__(reason)
        self.folder = folder


@dataclass(frozen=True, kw_only=True)
class LeafRun:
    """How the run of a leaf is called and found.

    Attributes:
        record: the leaf's record.
        name: display name.
        trainings: the trainings it stands on.
    """

    record: Record
    name: str
    trainings: tuple[TrainingRun, ...] = ()

    @property
    def id(self) -> str:
        """Id of the W&B run: every sweep that ends with a result has a run of it in its group."""
        named = f"{text(self.record, 'run_id')} {text(self.record, 'sweep')}"
        return hashlib.sha256(named.encode()).hexdigest()[:ID_LENGTH]


def deliver(
    leaf: LeafRun,
    content: Content,
    destination: Destination,
    *,
    mode: Literal["online", "offline"],
    suffix: str,
) -> tuple[Path, str]:
    """Writes the run and returns its local folder and its URL ("" when offline).

    Raises `UploadFailedError` when a complete run was not uploaded in time, and otherwise whatever
    the client raises.

    Args:
        leaf: gives the run its id, name and group.
        content: what the run contains.
        destination: where to write and send it.
        mode: whether to upload it.
        suffix: appended to the run's id.
    """
    run = _start(leaf, content, destination, mode, suffix)
    folder = Path(run.dir).parent
    try:
        _fill(run, content)
        if mode == "online" and not under_an_agent():
            attempt(lambda: _link(run, leaf.trainings))  # the summary has the same links
    except BaseException:
        run.finish(exit_code=1)
        raise
    try:
        run.finish()
    except TimeoutError as error:
        raise UploadFailedError(folder, str(error)) from error
    return folder, run.url or ""


def _start(
    leaf: LeafRun,
    content: Content,
    destination: Destination,
    mode: Literal["online", "offline"],
    suffix: str,
) -> wandb.Run:
    return start_run(
        mode=mode,
        home=destination.home,
        timeout=destination.timeout,
        name=leaf.name,
        job_type="eval",
        requirements=under_an_agent(),
        tags=list(content.tags),
        config=content.config,
        **_identity(leaf, destination, suffix),
    )


def _identity(leaf: LeafRun, destination: Destination, suffix: str) -> dict[str, Any]:
    """Returns the identity that makes a resend update the run; W&B sweep agents set their own."""
    if under_an_agent():
        return {}
    return {
        "id": leaf.id + suffix,
        "resume": "allow",
        "project": destination.project,
        "entity": destination.entity,
        "group": text(leaf.record, "sweep"),
    }


def _link(run: wandb.Run, trainings: Sequence[TrainingRun]) -> None:
    """Makes the trainings inputs of the run; offline, where that raises, its summary names them."""
    for training in trainings:
        run.use_artifact(artifact_of(training))


def _fill(run: wandb.Run, content: Content) -> None:
    """Logs the tables, then keeps their metadata out of the summary, which is set last."""
    for metric, better in content.better.items():
        run.define_metric(metric, summary=better)
    columns, rows = content.layers
    if rows:
        table = wandb.Table(columns=columns, data=rows)
        bars = wandb.plot.bar(table, "layer", "flip_rate", title="code-flip rate by layer")
        run.log({"layers": table, "code_flips": bars})
    columns, rows = content.flips
    if rows:
        rates = [[row[column] for row in rows] for column in range(1, len(columns))]
        lines = wandb.plot.line_series(
            xs=list(range(len(rows))),
            ys=rates,
            keys=[str(column) for column in columns[1:]],
            title="code-flip rate by layer and bit width",
            xname="layer",
        )
        run.log({"flips": wandb.Table(columns=columns, data=rows), "flips_by_width": lines})
    columns, rows = content.mask
    if rows:
        table = wandb.Table(columns=columns, data=rows)
        run.log(
            {
                "mask_shares": table,
                "mask_by_layer": wandb.plot.bar(table, "parameter", "kept", title="units kept"),
            }
        )
    columns, rows = content.samples
    if rows:
        run.log({"samples": wandb.Table(columns=columns, data=rows)})
    for name in list(run.summary.keys()):
        if not name.startswith("_"):
            del run.summary[name]
    run.summary.update(content.summary)
