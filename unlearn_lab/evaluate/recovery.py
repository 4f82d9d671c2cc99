"""Decides how much of what was forgotten comes back under a quantizer."""

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
    """One model's scores on one metric, in full precision and, where known, quantized."""

    full: Score
    quantized: Score | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What came back: `delta` and `excess` in points (0-100), the rest shares or None."""

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
    """What quantization brings back of one metric M (VerbMem or KnowMem), with paired intervals.

    - delta = M_unlearned,q - M_unlearned,full
    - retained_full = M_unlearned,full / M_target,full; retained_quantized = M_unlearned,q /
      M_target,q: numerator and denominator in the same precision, as in the headline of Zhang et
      al. (arXiv 2410.16454)
    - target_kept = (M_target,q - M_retrain,q) / (M_target,full - M_retrain,full): how much of what
      the target alone knows survives the quantizer; without a quantized control M_target,q /
      M_target,full
    - recovered_share = delta / (M_target,q - M_unlearned,full): 0 = nothing came back, 1 = all that
      the target has
    - excess = delta - (M_retrain,q - M_retrain,full): beyond what quantization does to a model that
      never knew

    Where target_kept is below `smallest_kept`, the quantizer has destroyed the target's knowledge
    too, and retained_quantized and recovered_share are None: they would be ratios of what is left.
    A share is None when its denominator is below `smallest_denominator` points. Resamples whose
    denominator is below half of that are left out of its interval. What needs the quantized score
    of a control is None without one; without a retrained model that is excess. Raises `ValueError`
    when `smallest_denominator` is not positive or `smallest_kept` negative, when the unlearned
    model has no quantized score, or when the scores are not over the same number of items.
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
        raise ValueError("the unlearned model has no quantized score: nothing can have come back")
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
    """What the target keeps of its knowledge; None where it has none, or nothing was quantized."""
    if target_full is None or target_q is None:
        return None
    if retrain_full is None or retrain_q is None:
        return _share(target_q, target_full, smallest)
    return _share(target_q - retrain_q, target_full - retrain_full, smallest)


def _means(scores: Sequence[Score | None]) -> list[Means | None]:
    """Each score's mean, and after it those of its resamples, the same items in all scores."""
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
    """The ratio of two numbers (the first entries) and of their resamples (the others)."""
    if denominator is None or denominator[0] < smallest:
        return None
    return _estimate(numerator / np.where(denominator >= smallest / 2, denominator, np.nan))


def _estimate(statistics: Means) -> Estimate:
    """The first entry with the interval of all the others."""
    low, high = interval(statistics[1:])
    return Estimate(value=float(statistics[0]), low=low, high=high)
