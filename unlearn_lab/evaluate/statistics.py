"""Computes bootstrap intervals over items, paired between models, and AUCs."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

NUM_RESAMPLES = 2000
SEED = 0
PERCENTILES = (2.5, 97.5)


def resample_counts(
    num_items: int, *, num_resamples: int, seed: int
) -> Int[np.ndarray, "resamples items"]:
    """Returns how often each item is drawn in each resample of `num_items` with replacement.

    Equal arguments give equal counts, so statistics of several models over the same items are
    paired by sharing them.

    Args:
        num_items: number of items, and of draws per resample.
        num_resamples: number of resamples.
        seed: seed of the draws.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_items, np.full(num_items, 1 / num_items), size=num_resamples)


def resampled_means(
    values: Float[np.ndarray, " items"], counts: Int[np.ndarray, "resamples items"]
) -> Float[np.ndarray, " resamples"]:
    """Returns the mean of each resample; exact when all values are equal."""
    mean = values.mean()
    return mean + counts @ (values - mean) / len(values)


def interval(statistics: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Returns the central 95 % of the statistics; NaN (undefined resamples) is ignored."""
    low, high = np.nanpercentile(statistics, PERCENTILES)
    return float(low), float(high)


def mean_interval(values: Sequence[float], *, num_resamples: int, seed: int) -> tuple[float, float]:
    """Returns the 95 % percentile-bootstrap interval of a mean, in the unit of the values.

    Args:
        values: one value per item.
        num_resamples: number of resamples.
        seed: seed of the draws.
    """
    counts = resample_counts(len(values), num_resamples=num_resamples, seed=seed)
    return interval(resampled_means(np.asarray(values, dtype=np.float64), counts))


def pairwise_wins(
    forget: Float[np.ndarray, " forget"], holdout: Float[np.ndarray, " holdout"]
) -> Float[np.ndarray, "forget holdout"]:
    """Returns 1 where the forget score of a pair is larger, 1/2 for a tie, 0 otherwise."""
    difference = forget[:, None] - holdout[None, :]
    return (np.sign(difference) + 1) / 2


def area(wins: Float[np.ndarray, "forget holdout"]) -> float:
    """Returns P(forget > holdout) from 0 to 1; ties count half."""
    return float(wins.mean())


def resampled_areas(
    wins: Float[np.ndarray, "forget holdout"],
    forget_counts: Int[np.ndarray, "resamples forget"],
    holdout_counts: Int[np.ndarray, "resamples holdout"],
) -> Float[np.ndarray, " resamples"]:
    """Returns the area of each resample, with forget and holdout items drawn separately.

    Args:
        wins: pairwise comparisons, see `pairwise_wins`.
        forget_counts: bootstrap counts of the forget items.
        holdout_counts: bootstrap counts of the holdout items.
    """
    return ((forget_counts @ wins) * holdout_counts).sum(axis=1) / wins.size
