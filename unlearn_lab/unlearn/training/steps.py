"""Reads the curve of a training."""

import json
from pathlib import Path

STEPS = "steps.jsonl"


def read_steps(folder: Path) -> list[dict[str, int | float]]:
    """Reads one row per step, in order, merging the lines of a step."""
    path, rows = folder / STEPS, dict[int, dict[str, int | float]]()
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.endswith("}"):  # truncated by a crash; the step was repeated
                continue
            row = json.loads(line)
            rows[row["step"]] = rows.get(row["step"], {}) | row
    return [rows[step] for step in sorted(rows)]
