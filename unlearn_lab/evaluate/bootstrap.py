"""Decides how sure a number is: a seeded percentile bootstrap over items, paired between models."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

NUM_RESAMPLES = 2000
SEED = 0
PERCENTILES = (2.5, 97.5)


def resample_counts(
    num_items: int, *, num_resamples: int, seed: int
) -> Int[np.ndarray, "resamples items"]:
    """How often each item was drawn in each resample of `num_items` draws with replacement.

    Equal arguments give equal counts, so numbers of several models over the same items are paired
    by sharing them.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_items, np.full(num_items, 1 / num_items), size=num_resamples)


def resampled_means(
    values: Float[np.ndarray, " items"], counts: Int[np.ndarray, "resamples items"]
) -> Float[np.ndarray, " resamples"]:
    """The mean of each resample; exact when all values are equal."""
    mean = values.mean()
    return mean + counts @ (values - mean) / len(values)


def interval(statistics: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """The central 95 % of the resampled statistics, leaving out NaN: resamples without a value."""
    low, high = np.nanpercentile(statistics, PERCENTILES)
    return float(low), float(high)


def mean_interval(values: Sequence[float], *, num_resamples: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile-bootstrap interval of a mean, in the unit of the values."""
    counts = resample_counts(len(values), num_resamples=num_resamples, seed=seed)
    return interval(resampled_means(np.asarray(values, dtype=np.float64), counts))
