"""Decides how much of what was forgotten comes back under a quantizer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unlearn_lab.evaluate.bootstrap import (
    NUM_RESAMPLES,
    SEED,
    interval,
    resample_counts,
    resampled_means,
)
from unlearn_lab.evaluate.metric import Score

Means = Float[np.ndarray, " resamples"]


@dataclass(frozen=True, kw_only=True)
class Precisions:
    """One model's scores on one metric, in full precision and under the quantizer."""

    full: Score
    quantized: Score


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
    recovered_share: Estimate | None
    excess: Estimate


def recovery(
    *, unlearned: Precisions, target: Precisions, retrain: Precisions, smallest_denominator: float
) -> Recovery:
    """What quantization brings back of one metric M (VerbMem or KnowMem), with paired intervals.

    - delta = M_unlearned,q - M_unlearned,full
    - retained_full = M_unlearned,full / M_target,full; retained_quantized = M_unlearned,q /
      M_target,q: numerator and denominator in the same precision, as in the headline of Zhang et
      al. (arXiv 2410.16454)
    - recovered_share = delta / (M_target,q - M_unlearned,full): 0 = nothing came back, 1 = all that
      the target has
    - excess = delta - (M_retrain,q - M_retrain,full): beyond what quantization does to a model that
      never knew

    A share is None when its denominator is below `smallest_denominator` points. Resamples whose
    denominator is below half of that are left out of its interval. Raises `ValueError` when
    `smallest_denominator` is not positive or when the six scores are not over the same number of
    items.
    """
    if not smallest_denominator > 0:
        raise ValueError(f"smallest_denominator={smallest_denominator}: must be above 0 points")
    models = (unlearned, target, retrain)
    values = _paired([score for model in models for score in (model.full, model.quantized)])
    counts = resample_counts(values.shape[1], num_resamples=NUM_RESAMPLES, seed=SEED)
    unlearned_full, unlearned_q, target_full, target_q, retrain_full, retrain_q = (
        np.append(row.mean(), resampled_means(row, counts)) for row in values
    )
    delta = unlearned_q - unlearned_full
    return Recovery(
        delta=_estimate(delta),
        retained_full=_share(unlearned_full, target_full, smallest_denominator),
        retained_quantized=_share(unlearned_q, target_q, smallest_denominator),
        recovered_share=_share(delta, target_q - unlearned_full, smallest_denominator),
        excess=_estimate(delta - (retrain_q - retrain_full)),
    )


def _paired(scores: Sequence[Score]) -> Float[np.ndarray, "scores items"]:
    sizes = [len(score.per_item) for score in scores]
    if len(set(sizes)) != 1 or sizes[0] == 0:
        raise ValueError(
            f"the six scores are over {sizes} items: all must be over the same ones, at least one"
        )
    return np.asarray([score.per_item for score in scores], dtype=np.float64)


def _share(numerator: Means, denominator: Means, smallest: float) -> Estimate | None:
    """The ratio of two numbers (the first entries) and of their resamples (the others)."""
    if denominator[0] < smallest:
        return None
    return _estimate(numerator / np.where(denominator >= smallest / 2, denominator, np.nan))


def _estimate(statistics: Means) -> Estimate:
    """The first entry with the interval of all the others."""
    low, high = interval(statistics[1:])
    return Estimate(value=float(statistics[0]), low=low, high=high)
