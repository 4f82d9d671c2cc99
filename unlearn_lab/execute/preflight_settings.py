"""Checks settings of runtime and report that need neither corpus nor model."""

import dataclasses

import torch

from unlearn_lab.config.build import Refused
from unlearn_lab.config.settings import Report, Runtime
from unlearn_lab.models.device import device_of
from unlearn_lab.record.verdict import VerdictThresholds
from unlearn_lab.report.wandb.mode import check_settings


def require_possible(runtime: Runtime, report: Report) -> None:
    """Raises `ValueError` for impossible settings of runtime or report."""
    names = ("devices", "batch_tokens", "claim_beat", "claim_look", "claim_silence")
    for name in names:
        if getattr(runtime, name) <= 0:
            raise Refused(f"runtime.{name}={getattr(runtime, name)}: must be above 0")
    if runtime.claim_silence < 2 * runtime.claim_beat:
        raise Refused(
            f"runtime.claim_silence={runtime.claim_silence}: must be at least twice "
            f"runtime.claim_beat={runtime.claim_beat}, or live processes count as dead"
        )
    for name in ("threads", "micro_batch"):
        value = getattr(runtime, name)
        if value is not None and value < 1:
            raise Refused(f"runtime.{name}={value}: must be at least 1, or null")
    try:
        torch.empty(0, device=device_of(runtime.accelerator))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise Refused(
            f"runtime.accelerator={runtime.accelerator}: {reason}; use auto, cpu or gpu"
        ) from error
    VerdictThresholds(**dataclasses.asdict(report.thresholds))
    check_settings(report.wandb)
