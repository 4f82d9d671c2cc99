"""Decides which figures a record has of its scores: scores, PrivLeak, forget quality, recovery."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unlearn_lab.evaluate.forget_quality import figures, forget_quality
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.privleak import PUBLISHED_AUC, privleak
from unlearn_lab.evaluate.recovery import Estimate, Precisions, recovery

Row = dict[str, Any]
TRUTH_RATIO = "forget_truth_ratio"
"""The metric of eval.metrics from which forget quality is computed."""


def score_figures(
    scores: Mapping[str, Mapping[str, Score]],
    *,
    memories: Sequence[str],
    auc_retrain: str,
    smallest_denominator: float,
    smallest_kept: float,
) -> Row:
    """Returns the flat figures of all scores.

    Without `retrain.*`, figures that need the retrain control are None; so is PrivLeak, unless
    `auc_retrain` names a published AUC.

    Args:
        scores: scores by evaluation (`unlearned.full`, ...) and metric.
        memories: the metrics of memory, whose recovery is computed.
        auc_retrain: the name of a published AUC, otherwise the run's own retrain control is used.
        smallest_denominator: points below which a share is undefined, see `recovery`.
        smallest_kept: `target_kept` below which recovered shares are undefined, see `recovery`.
    """
    control = _auc_control(auc_retrain, scores)
    row: Row = {
        f"scores.{name}.{key}": value
        for name, found in scores.items()
        for key, value in _scores(found)
    }
    for name, found in scores.items():
        row |= _leak(name, found, control)
    row |= _forget_quality(scores)
    row |= {
        f"items.{metric}": len(score.per_item) for metric, score in scores["unlearned.full"].items()
    }
    row |= _recoveries(scores, memories, smallest_denominator, smallest_kept)
    row["effective.auc_retrain"] = control.value / 100 if isinstance(control, Score) else control
    return row


def _scores(found: Mapping[str, Score]) -> Iterator[tuple[str, float]]:
    for metric, score in found.items():
        name = "auc" if metric == "min_k" else metric
        yield name, score.value
        yield f"{name}.low", score.low
        yield f"{name}.high", score.high


def _auc_control(name: str, scores: Mapping[str, Mapping[str, Score]]) -> Score | float | None:
    """Returns the AUC that PrivLeak compares with; None when there is neither of the two.

    It is a published one, or that of the full-precision retrain control.
    """
    if name in PUBLISHED_AUC:
        return PUBLISHED_AUC[name]
    return scores.get("retrain.full", {}).get("min_k")


def _leak(name: str, found: Mapping[str, Score], control: Score | float | None) -> Row:
    """Returns PrivLeak of one evaluation, always against the full-precision retrain control."""
    path = f"scores.{name}.privleak"
    if "min_k" not in found:
        return {}
    leak = None if control is None else privleak(found["min_k"], control)
    if leak is None:
        return {path: None, f"{path}.low": None, f"{path}.high": None}
    return {path: leak.value, f"{path}.low": leak.low, f"{path}.high": leak.high}


def _forget_quality(scores: Mapping[str, Mapping[str, Score]]) -> Row:
    """Returns the forget quality of each evaluation against the full-precision retrain control."""
    control = scores.get("retrain.full", {}).get(TRUTH_RATIO)
    row: Row = {}
    for name, found in scores.items():
        if TRUTH_RATIO in found:
            quality = None if control is None else forget_quality(found[TRUTH_RATIO], control)
            row |= figures(quality, f"scores.{name}")
    return row


def _recoveries(
    scores: Mapping[str, Mapping[str, Score]],
    memories: Sequence[str],
    smallest: float,
    smallest_kept: float,
) -> Row:
    row: Row = {}
    for metric in memories:
        if metric not in scores["unlearned.full"]:
            continue
        found: Mapping[str, Estimate | None] = dict.fromkeys(
            (
                "delta",
                "retained_full",
                "retained_quantized",
                "target_kept",
                "recovered_share",
                "excess",
            )
        )
        if "unlearned.quantized" in scores:
            found = vars(
                recovery(
                    unlearned=_precisions(scores, "unlearned", metric),
                    target=_precisions(scores, "target", metric),
                    retrain=_precisions(scores, "retrain", metric)
                    if "retrain.full" in scores
                    else None,
                    smallest_denominator=smallest,
                    smallest_kept=smallest_kept,
                )
            )
        for name, estimate in found.items():
            path = f"recovery.{metric}.{name}"
            row |= {path: None, f"{path}.low": None, f"{path}.high": None}
            if estimate is not None:
                row |= {
                    path: estimate.value,
                    f"{path}.low": _finite(estimate.low),
                    f"{path}.high": _finite(estimate.high),
                }
    return row


def _precisions(scores: Mapping[str, Mapping[str, Score]], who: str, metric: str) -> Precisions:
    return Precisions(
        full=scores[f"{who}.full"][metric],
        quantized=scores.get(f"{who}.quantized", {}).get(metric),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
