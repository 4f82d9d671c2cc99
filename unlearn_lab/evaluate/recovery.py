"""Decides how much forgotten content a quantizer recovers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.statistics import (
    NUM_RESAMPLES,
    SEED,
    interval,
    resample_counts,
    resampled_means,
)

Means = Float[np.ndarray, " resamples"]


@dataclass(frozen=True, kw_only=True)
class Precisions:
    """One model's scores on one metric, in full precision and, if available, quantized."""

    full: Score
    quantized: Score | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % bootstrap interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Recovery of one metric under a quantizer; `recovery` defines each figure and when it is None.

    Attributes:
        delta: gain of the unlearned model, in points (0-100).
        retained_full: unlearned over target in full precision, a share.
        retained_quantized: unlearned over target, both quantized, a share.
        target_kept: share of the target's knowledge that survives the quantizer.
        recovered_share: `delta` as a share of its possible maximum.
        excess: `delta` beyond the change of the retrained model, in points.
    """

    delta: Estimate
    retained_full: Estimate | None
    retained_quantized: Estimate | None
    target_kept: Estimate | None
    recovered_share: Estimate | None
    excess: Estimate | None


def recovery(
    *,
    unlearned: Precisions,
    target: Precisions,
    retrain: Precisions | None,
    smallest_denominator: float,
    smallest_kept: float,
) -> Recovery:
    """Computes recovery by quantization on one metric M (VerbMem, KnowMem), with paired intervals.

    - delta = M_unlearned,q - M_unlearned,full
    - retained_full = M_unlearned,full / M_target,full; retained_quantized = M_unlearned,q /
      M_target,q: numerator and denominator in the same precision, as in the headline of Zhang et
      al. (arXiv 2410.16454)
    - target_kept = (M_target,q - M_retrain,q) / (M_target,full - M_retrain,full): share of the
      target's knowledge beyond the retrained model's that survives the quantizer; without a
      quantized retrained model M_target,q / M_target,full
    - recovered_share = delta / (M_target,q - M_unlearned,full): 0 = no recovery, 1 = recovery of
      the quantized target's score
    - excess = delta - (M_retrain,q - M_retrain,full): gain beyond the change that quantization
      causes in a model that never saw the forget set

    If target_kept is below `smallest_kept`, the quantizer has also destroyed the target's
    knowledge, and retained_quantized and recovered_share would be ratios of small remainders.
    Resamples whose denominator is below half of `smallest_denominator` are left out of
    the interval. A figure that needs a missing quantized score of a control is None; without a
    retrained model that is excess. Raises `ValueError` when `smallest_denominator` is not positive
    or `smallest_kept` negative, when the unlearned model has no quantized score, or when the scores
    are not over the same number of items.

    Args:
        unlearned: scores of the unlearned model, both required.
        target: scores of the target.
        retrain: scores of the retrained model; None if there is none.
        smallest_denominator: points; a share with a smaller denominator is None.
        smallest_kept: share; below it, retained_quantized and recovered_share are None.
    """
    if not smallest_denominator > 0:
        raise ValueError(f"smallest_denominator={smallest_denominator}: must be above 0 points")
    if smallest_kept < 0:
        raise ValueError(f"smallest_kept={smallest_kept}: must be 0 or more, a share")
    unlearned_full, unlearned_q, target_full, target_q, retrain_full, retrain_q = _means(
        [
            score
            for model in (unlearned, target, retrain)
            for score in ((None, None) if model is None else (model.full, model.quantized))
        ]
    )
    if unlearned_full is None or unlearned_q is None:
        raise ValueError("the unlearned model has no quantized score: recovery cannot be computed")
    delta = unlearned_q - unlearned_full
    gap = None if target_q is None else target_q - unlearned_full
    drift = None if retrain_q is None or retrain_full is None else retrain_q - retrain_full
    kept = _kept(target_full, target_q, retrain_full, retrain_q, smallest_denominator)
    knows = kept is None or kept.value >= smallest_kept
    return Recovery(
        delta=_estimate(delta),
        retained_full=_share(unlearned_full, target_full, smallest_denominator),
        retained_quantized=_share(unlearned_q, target_q, smallest_denominator) if knows else None,
        target_kept=kept,
        recovered_share=_share(delta, gap, smallest_denominator) if knows else None,
        excess=None if drift is None else _estimate(delta - drift),
    )


def _kept(
    target_full: Means | None,
    target_q: Means | None,
    retrain_full: Means | None,
    retrain_q: Means | None,
    smallest: float,
) -> Estimate | None:
    """Returns `target_kept`; None without knowledge to keep or without a quantized target."""
    if target_full is None or target_q is None:
        return None
    if retrain_full is None or retrain_q is None:
        return _share(target_q, target_full, smallest)
    return _share(target_q - retrain_q, target_full - retrain_full, smallest)


def _means(scores: Sequence[Score | None]) -> list[Means | None]:
    """Returns each score's mean followed by those of its resamples, paired between scores."""
    sizes = [len(score.per_item) for score in scores if score is not None]
    if len(set(sizes)) != 1 or sizes[0] == 0:
        raise ValueError(
            f"the scores are over {sizes} items: all must be over the same ones, at least one"
        )
    counts = resample_counts(sizes[0], num_resamples=NUM_RESAMPLES, seed=SEED)
    rows = [
        None if score is None else np.asarray(score.per_item, dtype=np.float64) for score in scores
    ]
    return [
        None if row is None else np.append(row.mean(), resampled_means(row, counts)) for row in rows
    ]


def _share(numerator: Means, denominator: Means | None, smallest: float) -> Estimate | None:
    """Returns the ratio of two means (first entries) and of their resamples (other entries)."""
    if denominator is None or denominator[0] < smallest:
        return None
    return _estimate(numerator / np.where(denominator >= smallest / 2, denominator, np.nan))


def _estimate(statistics: Means) -> Estimate:
    """Returns the first entry with the interval of the other entries."""
    low, high = interval(statistics[1:])
    return Estimate(value=float(statistics[0]), low=low, high=high)
