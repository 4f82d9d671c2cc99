"""Forget quality: whether a model can be told from one that never saw the forget set (TOFU)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unlearn_lab.evaluate.metric import Score


@dataclass(frozen=True, kw_only=True)
class ForgetQuality:
    """A two-sample Kolmogorov-Smirnov test of truth ratios against the retrain control's.

    Attributes:
        p: probability of so large a distance between two samples of one distribution.
        log10_p: its logarithm, also where `p` is too small for a float.
        distance: largest distance between the two distribution functions, 0 to 1.
    """

    p: float
    log10_p: float
    distance: float


def forget_quality(unlearned: Score, retrain: Score) -> ForgetQuality:
    """Compares the truth ratios of the forget set (TOFU, Maini et al., arXiv 2401.06121).

    A p-value near 1 means that the test does not distinguish the models. It is small for a model
    that still knows the answers and for one that was destroyed alike, and smaller the more
    questions there are: compare values of one number of questions only. It is the same for R, 1/R
    and log R. Both scores must be of `TruthRatio`. Raises `ValueError` when they are over different
    numbers of questions.

    Args:
        unlearned: score of the model, perhaps quantized.
        retrain: score of the full-precision retrain control.
    """
    ours, theirs = _log_ratios(unlearned), _log_ratios(retrain)
    if len(ours) != len(theirs):
        raise ValueError(
            f"the truth ratios are of {len(ours)} and {len(theirs)} questions: both models must be "
            "asked the same ones"
        )
    from scipy.stats import ks_2samp  # takes most of a second to import

    distance, p = map(float, ks_2samp(ours, theirs))
    log10_p = math.log10(p) if p > 0 else _asymptotic_log10(distance, len(ours))
    return ForgetQuality(p=p, log10_p=min(log10_p, 0.0), distance=distance)


def figures(found: ForgetQuality | None, path: str) -> Mapping[str, float | None]:
    """Returns the figures of a record, below `path`; None without a control."""
    values = (None,) * 3 if found is None else (found.p, found.log10_p, found.distance)
    names = ("forget_quality", "forget_quality_log10", "forget_quality_distance")
    return {f"{path}.{name}": value for name, value in zip(names, values, strict=True)}


def _asymptotic_log10(distance: float, num_items: int) -> float:
    """Returns log10 of 2 exp(-n D^2): the first term of Kolmogorov's series, two samples of n."""
    return (math.log(2) - num_items * distance**2) / math.log(10)


def _log_ratios(score: Score) -> np.ndarray:
    return np.asarray([float(row["log_ratio"]) for row in score.items])
