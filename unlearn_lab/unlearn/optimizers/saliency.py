"""Ranks the units of a model by the norm of their forget gradient (SURE, Eq. 4-6)."""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unlearn_lab.unlearn.gradients import summed_gradients
from unlearn_lab.unlearn.optimizers.units import Layout

_HALF_BITS = 16
_CHUNK = 2**24

Parameters = Mapping[str, torch.nn.Parameter]
Scores = Mapping[str, Float[Tensor, " _"]]
Mask = Mapping[str, Bool[Tensor, " _"]]


def mean_gradient(parameters: Parameters, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """Returns the mean gradient of `losses`, in float32 whatever the parameters' dtype.

    Memory as of `summed_gradients`. Raises `ValueError` without any loss, and for gradients that
    are not finite.
    """
    sums, count = summed_gradients(parameters, losses)
    if count == 0:
        raise ValueError("no loss was given: the forget split is empty")
    for name, total in sums.items():
        total.div_(count)
        if not torch.isfinite(total).all():
            raise ValueError(
                f"the forget gradient of {name} is NaN or infinite at these weights, so no "
                "unit can be ranked; lower optimizer.lr if it was in training, or check the target"
            )
    return sums


def unit_scores(
    gradient: Mapping[str, Tensor], layouts: Mapping[str, Layout]
) -> dict[str, Float[Tensor, " _"]]:
    """Returns s_i = ||g_i||_2 of every unit, by parameter, in float32 on the CPU."""
    return {name: layouts[name].norms(values).cpu() for name, values in gradient.items()}


def percentile_of(scores: Iterable[Tensor], percentile: float) -> float:
    """Returns the exact percentile of all scores together: one of them, never interpolated.

    It is the score at index ceil(percentile / 100 * (n - 1)) in ascending order, from 0 (numpy's
    method `higher`; the linear percentile of SURE's released code keeps the same units). Bit
    patterns of non-negative floats have the floats' order, so two counting passes over them
    suffice: no sort, no copy of all scores. Raises `ValueError` for scores that are negative or not
    finite, or if there are none.
    """
    scores = [part.float().reshape(-1) for part in scores]
    count = sum(part.numel() for part in scores)
    if count == 0:
        raise ValueError("there is no unit to rank")
    if not all(torch.isfinite(part).all() and (part >= 0).all() for part in scores):
        raise ValueError("scores must be finite and not negative")
    place = math.ceil(Fraction(str(percentile)) / 100 * (count - 1))
    high, place = _find(scores, place, above=None)
    low, _ = _find(scores, place, above=high)
    bits = torch.tensor((high << _HALF_BITS) | low, dtype=torch.int32)
    return float(bits.view(torch.float32))


def choose(scores: Scores, percentile: float) -> tuple[dict[str, Bool[Tensor, " _"]], float]:
    """Returns the mask m_i = 1[s_i >= gamma], and gamma, the percentile of all s_i.

    All units that tie with gamma are kept; percentile 0 keeps everything. Raises `ValueError` if
    gamma is 0 at a higher percentile: units without any forget gradient would be kept as well.
    """
    gamma = percentile_of(scores.values(), percentile)
    if gamma == 0 and percentile > 0:
        zeros = sum(int((part == 0).sum()) for part in scores.values())
        share = 100 * zeros / sum(part.numel() for part in scores.values())
        raise ValueError(
            f"optimizer.percentile={percentile}: {share:.4g} % of the units have no forget "
            "gradient at all, so this percentile is 0 and would keep every one; choose a larger "
            "one, or restrict optimizer.modules"
        )
    return {name: part >= gamma for name, part in scores.items()}, gamma


def _find(scores: Iterable[Tensor], place: int, *, above: int | None) -> tuple[int, int]:
    """Returns half of the bits of the score at sorted index `place`, and its index within them.

    Without `above`, these are the upper 16 bits; with it, the lower 16 bits among the scores whose
    upper bits are `above`. The second index counts among the scores that share these bits.
    """
    counts = torch.zeros(1 << _HALF_BITS, dtype=torch.int64)
    for part in scores:
        for piece in part.split(_CHUNK):
            bits = piece.contiguous().view(torch.int32)
            halves = bits >> _HALF_BITS
            if above is not None:
                halves = bits[halves == above] & ((1 << _HALF_BITS) - 1)
            counts += torch.bincount(halves, minlength=1 << _HALF_BITS).cpu()
    below = counts.cumsum(0)
    found = int(torch.searchsorted(below, place, right=True))
    return found, place - int(below[found] - counts[found])
