"""The bootstrap: seeded, paired, exact for constants, and close to theory for a mean."""

import numpy as np
import pytest

from unlearn_lab.evaluate.statistics import (
    interval,
    mean_interval,
    resample_counts,
    resampled_means,
)


def test_every_resample_draws_as_many_items_as_there_are() -> None:
    counts = resample_counts(7, num_resamples=50, seed=3)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()


def test_equal_seeds_give_equal_draws_and_others_do_not() -> None:
    first, second, other = (resample_counts(9, num_resamples=20, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_means_by_hand() -> None:
    """Counts (2, 0, 1) of 3, 6, 9 give (3 + 3 + 9) / 3 = 5."""
    means = resampled_means(np.array([3.0, 6.0, 9.0]), np.array([[2, 0, 1], [1, 1, 1]]))
    assert means.tolist() == [5.0, 6.0]


def test_equal_values_have_an_interval_of_no_width() -> None:
    value = 100 / 3
    assert mean_interval([value] * 7, num_resamples=100, seed=0) == (value, value)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    """+-1.96 standard errors; 200 normal items, so a tenth of slack covers the resampling noise."""
    values = np.random.default_rng(5).normal(50, 10, size=200)
    low, high = mean_interval(values.tolist(), num_resamples=4000, seed=0)
    half = 1.96 * values.std() / np.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=half / 10)
    assert high == pytest.approx(values.mean() + half, abs=half / 10)


def test_percentiles_leave_out_resamples_without_a_value() -> None:
    """Of 0..100 the central 95 % are 2.5 to 97.5."""
    statistics = np.concatenate([np.arange(101.0), [np.nan] * 50])
    assert interval(statistics) == (2.5, 97.5)
