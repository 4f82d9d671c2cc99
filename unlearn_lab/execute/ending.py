"""Ends a sweep: prints results and failures, writes the report, sets the exit status."""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlearn_lab.config.exits import FAILED, Finished
from unlearn_lab.config.settings import Report, Runtime
from unlearn_lab.record.outcome import Outcome
from unlearn_lab.record.results import records_path
from unlearn_lab.record.verdict import VerdictThresholds
from unlearn_lab.report.html.page import write_report
from unlearn_lab.report.terminal.closing import Closing, FailedLeaf, StageTally, print_closing
from unlearn_lab.report.terminal.table import open_console, print_results
from unlearn_lab.report.wandb.sweep import send_sweep

_log = logging.getLogger(__name__)


def close(
    outcomes: Sequence[Outcome],
    runtime: Runtime,
    report: Report,
    *,
    before: Sequence[Outcome],
    skipped: Sequence[FailedLeaf],
    again: Sequence[str],
) -> None:
    """Prints the table and the closing summary, writes the report, and ends the process.

    The report shows the records of this sweep; leaves with the same id count once. Raises
    `Finished` with code 0, or 1 when a leaf failed or the report could not be written.

    Args:
        outcomes: the outcomes of the leaves.
        runtime: settings of any of the jobs.
        report: settings of any of the jobs.
        before: outcomes of jobs that built stages for several leaves.
        skipped: jobs that were not run because another one has the same result.
        again: why stages that had been built before were rebuilt.
    """
    home, thresholds = Path(runtime.home), VerdictThresholds(**asdict(report.thresholds))
    records = list(
        {
            outcome.record["run_id"]: outcome.record for outcome in outcomes if outcome.record
        }.values()
    )
    written, unwritten, sent = None, False, ""
    console = open_console(sys.stdout)
    if records:
        print_results(console, records, thresholds)
        if report.html:
            written, unwritten = _write(home, records, thresholds, report.num_samples)
        if len(outcomes) > 1:
            sent = send_sweep(records, home, report.wandb, thresholds, written)
    failed = [FailedLeaf(leaf=o.label, reason=o.failure) for o in outcomes if o.failure is not None]
    closing = Closing(
        done=len(records) or len(outcomes) - len(failed),
        stages=_tally([*before, *outcomes]),
        failed=failed,
        skipped=skipped,
        again=again,
        records=records_path(home),
        report=written,
        wandb=sent or next((outcome.hint for outcome in reversed(outcomes) if outcome.hint), ""),
    )
    print_closing(console, closing)
    raise Finished(FAILED if failed or unwritten else 0)


def _write(
    home: Path,
    records: Sequence[Mapping[str, Any]],
    thresholds: VerdictThresholds,
    num_samples: int,
) -> tuple[Path | None, bool]:
    """Returns the report's path, and whether writing failed; the records are stored in any case."""
    try:
        return write_report(home, records, thresholds, num_samples=num_samples), False
    except OSError as error:
        _log.error("report not written (%s); the same command writes it again", error)
        return None, True


def _tally(outcomes: Iterable[Outcome]) -> list[StageTally]:
    """Counts each artifact once: built by one job and reused by the next counts as built."""
    built, reused, seconds = dict[str, str](), dict[str, str](), dict[str, float]()
    for outcome in outcomes:
        built |= outcome.built
        reused |= outcome.reused
        seconds |= outcome.seconds
    spent = dict.fromkeys([*built.values(), *reused.values()], 0.0)
    for key, name in built.items():
        spent[name] += seconds[key]
    return [
        StageTally(
            stage=name,
            built=sum(1 for other in built.values() if other == name),
            reused=sum(1 for key, other in reused.items() if other == name and key not in built),
            seconds=total,
        )
        for name, total in spent.items()
    ]
