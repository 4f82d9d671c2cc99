"""The area under the ROC curve of forget against holdout scores, with its resampled values."""

import numpy as np
from jaxtyping import Float, Int


def pairwise_wins(
    forget: Float[np.ndarray, " forget"], holdout: Float[np.ndarray, " holdout"]
) -> Float[np.ndarray, "forget holdout"]:
    """1 where the forget score is the larger one of a pair, 1/2 for a tie, 0 otherwise."""
    difference = forget[:, None] - holdout[None, :]
    return (np.sign(difference) + 1) / 2


def area(wins: Float[np.ndarray, "forget holdout"]) -> float:
    """P(forget > holdout) from 0 to 1, ties half."""
    return float(wins.mean())


def resampled_areas(
    wins: Float[np.ndarray, "forget holdout"],
    forget_counts: Int[np.ndarray, "resamples forget"],
    holdout_counts: Int[np.ndarray, "resamples holdout"],
) -> Float[np.ndarray, " resamples"]:
    """The area of each resample, forget and holdout items drawn separately."""
    return ((forget_counts @ wins) * holdout_counts).sum(axis=1) / wins.size
