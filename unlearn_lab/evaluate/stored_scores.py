"""Reads what the stages evaluate, codes and widths have written."""

import json
from typing import Any

from unlearn_lab.evaluate.metric import Score
from unlearn_lab.graph.cache import Artifact

SCORES, CODES, WIDTHS = "scores.json", "codes.json", "widths.json"


def read_scores(artifact: Artifact) -> dict[str, Score]:
    """Returns the scores of a finished evaluate stage, by metric."""
    rows = json.loads((artifact.path / SCORES).read_text(encoding="utf-8"))
    return {
        name: Score(**{**row, "per_item": tuple(row["per_item"]), "items": tuple(row["items"])})
        for name, row in rows.items()
    }


def read_code_changes(artifact: Artifact) -> dict[str, dict[str, Any]]:
    """Returns `overall` figures, and those of `layers` by name."""
    return json.loads((artifact.path / CODES).read_text(encoding="utf-8"))


def read_widths(artifact: Artifact) -> dict[str, dict[str, Any]]:
    """Returns `widths` (figures `BY_WIDTH` by bits and layer) and `parameters` (whole model)."""
    return json.loads((artifact.path / WIDTHS).read_text(encoding="utf-8"))
