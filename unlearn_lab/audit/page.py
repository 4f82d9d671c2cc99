"""Writes an audit: one self-contained HTML page, and the same as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearn_lab.audit.findings import Audit, Finding, Points
from unlearn_lab.config.redaction import redact
from unlearn_lab.record.leaf import title
from unlearn_lab.report.html.templates import environment

SCHEMA = 1
"""Version of audit.json's layout (docs/audit.md)."""
_WHO = (("unlearned", "unlearned model"), ("target", "target"), ("retrain", "retrain control"))


def write_audit(folder: Path, audit: Audit, commands: Sequence[str]) -> tuple[Path, Path]:
    """Writes `audit.html` and `audit.json` into a folder; returns their paths.

    Args:
        folder: where to write; created if it is missing.
        audit: the result.
        commands: the command lines that repeat it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, document = folder / "audit.html", folder / "audit.json"
    now = datetime.now(UTC)
    page.write_text(_render(audit, commands, now), encoding="utf-8")
    body = {
        "schema": SCHEMA,
        "time": now.isoformat(timespec="seconds"),
        **asdict(audit),
        "commands": list(commands),
    }
    document.write_text(json.dumps(_fit_to_show(body), indent=1, ensure_ascii=False), "utf-8")
    return page, document


def _render(audit: Audit, commands: Sequence[str], now: datetime) -> str:
    pages = environment(Path(__file__).parent, finalize=_fit_to_show)
    return pages.get_template("audit.html.j2").render(
        written=now.strftime("%Y-%m-%d %H:%M UTC"),
        audit=audit,
        several=len({finding.model for finding in audit.findings}) > 1,
        findings=[_shown(finding) for finding in audit.findings],
        commands=commands,
    )


def _fit_to_show(value: Any) -> Any:
    """Masks secrets and escapes control characters in all strings."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _fit_to_show(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_fit_to_show(inner) for inner in value]
    return value


def _shown(finding: Finding) -> dict[str, Any]:
    metrics = list(
        dict.fromkeys(
            metric for by in finding.scores.values() for found in by.values() for metric in found
        )
    )
    lines = [
        (name, precision, [_cell(finding.scores[who][precision].get(metric)) for metric in metrics])
        for who, name in _WHO
        for precision in ("full", "quantized")
        if finding.scores[who][precision]
    ]
    weights = {name: _figure(value) for name, value in finding.weights.items()}
    return {
        "finding": finding,
        "metrics": [title(metric) for metric in metrics],
        "lines": lines,
        "weights": weights,
    }


def _cell(points: Points | None) -> str:
    if points is None:
        return "-"
    if points.low is None or points.high is None:
        return f"{points.value:z.1f}"
    return f"{points.value:z.1f} [{points.low:z.1f}, {points.high:z.1f}]"


def _figure(value: float | str | None) -> str:
    if value is None:
        return "unknown"
    return value if isinstance(value, str) else f"{value:.3g}"
