"""Writes one run with the W&B client, with time limits on start and upload."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import wandb

from unlearn_lab.record.leaf import Record, text
from unlearn_lab.report.wandb.payload import Content

ID_LENGTH = 16
"""Hex digits of the record's id in the W&B run's id; the run's config has all 64."""


class UploadFailedError(Exception):
    """A complete run could not be uploaded in time; its local copy is in `folder`."""

    def __init__(self, folder: Path, reason: str) -> None:
        """Stores the local run folder, with the reason as message."""
        super().__init__(reason)
        self.folder = folder


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where runs are written and sent.

    Attributes:
        home: local runs are written below `home/wandb`.
        project: W&B project.
        entity: W&B user or team; None for the account's default.
        timeout: seconds each for start and upload.
    """

    home: Path
    project: str
    entity: str | None
    timeout: float


def deliver(
    record: Record,
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
        record: gives the run its id, name and group.
        content: what the run contains.
        destination: where to write and send it.
        mode: whether to upload it.
        suffix: appended to the run's id.
    """
    run = _start(record, content, destination, mode, suffix)
    folder = Path(run.dir).parent
    try:
        _fill(run, content)
    except BaseException:
        run.finish(exit_code=1)
        raise
    try:
        run.finish()
    except TimeoutError as error:
        raise UploadFailedError(folder, str(error)) from error
    return folder, run.url or ""


def quiet_client() -> wandb.Settings:
    """Starts the client without console output; returns its settings, with WANDB_* applied.

    Unless WANDB_ERROR_REPORTING is set, also turns off the client's reports on its own errors and
    timings, which it would send to W&B even in offline mode.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return wandb.setup(wandb.Settings(silent=True)).settings


def _start(
    record: Record,
    content: Content,
    destination: Destination,
    mode: Literal["online", "offline"],
    suffix: str,
) -> wandb.Run:
    quiet_client()
    try:
        return wandb.init(
            mode=mode,
            dir=str(destination.home),
            name=" ".join(text(record, key) for key in ("method", "optimizer", "quant", "seed")),
            config=content.config,
            settings=_client_settings(destination.timeout),
            reinit="create_new",
            **_identity(record, destination, suffix),
        )
    except Exception:
        # Otherwise the client's service keeps the id reserved: "run ID is in use".
        wandb.teardown()
        raise


def _identity(record: Record, destination: Destination, suffix: str) -> dict[str, Any]:
    """Returns the identity that makes a resend update the run; W&B sweep agents set their own."""
    if os.environ.get("WANDB_SWEEP_ID"):
        return {}
    return {
        "id": text(record, "run_id")[:ID_LENGTH] + suffix,
        "resume": "allow",
        "project": destination.project,
        "entity": destination.entity,
        "group": text(record, "sweep"),
    }


def _client_settings(timeout: float) -> wandb.Settings:
    """Returns quiet, time-limited settings without code, git and system metrics of this process."""
    return wandb.Settings(
        silent=True,
        console="off",
        init_timeout=timeout,
        finish_timeout=timeout,
        finish_timeout_raises=True,
        use_dot_wandb=False,
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
    )


def _fill(run: wandb.Run, content: Content) -> None:
    """Logs the curves, unless an earlier send has, then the tables; sets the summary last."""
    if not run.resumed:
        for step, figures in content.points:
            run.log(figures, step=step)
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
    run.summary.update(content.summary)
