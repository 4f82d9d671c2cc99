"""Decides the levels of an integer grid and the level to which each weight is rounded."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_lab.quantize.quantizer import Codes

BIT_WIDTHS = range(2, 9)
SYMMETRIC_CONVENTIONS = ("absmax", "paper", "full_range")
ASYMMETRIC_CONVENTIONS = ("minmax",)
GRANULARITIES = ("tensor", "row", "group")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Levels of each group: level k, from `lowest` to `highest`, is (k - zero_point) * step.

    A group whose step is zero (all weights zero, or too small for float32) has the single level 0.

    Attributes:
        steps: distance between levels.
        zero_points: the level of weight 0.
        lowest: the lowest level.
        highest: the highest level.
    """

    steps: Float[Tensor, "groups 1"]
    zero_points: Float[Tensor, "groups 1"]
    lowest: int
    highest: int


def encode(
    weight: Float[Tensor, "out in"],
    *,
    bits: int,
    convention: str,
    granularity: str,
    group_size: int | None,
) -> Codes:
    """Fits a grid to a weight and rounds to it, in float32 for every weight dtype.

    Codes count from the level of weight 0, so `integers * steps` is the rounded weight under every
    convention. Ties round to the even level, as in `torch.round`. Raises `ValueError` for weights
    that are not finite and for a `group_size` that does not divide `in`.

    Args:
        weight: the weight to round.
        bits: bits per weight.
        convention: how the step is computed; see `fit_grid`.
        granularity: weights that share a step; see `split_groups`.
        group_size: inputs per group; None unless `granularity` is `group`.
    """
    groups = split_groups(weight, granularity, group_size)
    grid = fit_grid(groups, bits, convention)
    return Codes(
        integers=nearest_codes(groups, grid).to(torch.int16).reshape(weight.shape),
        steps=grid.steps.expand_as(groups).reshape(weight.shape),
    )


def decode(codes: Codes, dtype: torch.dtype) -> Float[Tensor, "out in"]:
    """Returns the weights that the codes represent, computed in float32 and cast to `dtype`.

    Raises `ValueError` for codes without steps.
    """
    if codes.steps is None:
        raise ValueError("these codes have no steps: the weights cannot be computed from them")
    return (codes.integers * codes.steps).to(dtype)


def split_groups(
    weight: Float[Tensor, "out in"], granularity: str, group_size: int | None
) -> Float[Tensor, "groups members"]:
    """Returns the weight in float32, one row per set of weights that share a step.

    Raises `ValueError` when `group_size` does not divide the number of input features.

    Args:
        weight: the weight.
        granularity: `tensor` (one set), `row` (one per output feature), or `group` (consecutive
            inputs within a row).
        group_size: inputs per group; read only for `group`.
    """
    if granularity == "tensor":
        return weight.float().reshape(1, -1)
    if granularity == "row":
        return weight.float()
    if granularity != "group" or group_size is None:
        raise ValueError(
            f"granularity={granularity!r} with group_size={group_size}: must be one of "
            f"{', '.join(GRANULARITIES)}, and group wants a group_size"
        )
    if weight.shape[1] % group_size != 0:
        raise ValueError(
            f"group_size={group_size} does not divide the {weight.shape[1]} input features "
            f"of a weight of shape {tuple(weight.shape)}: choose a divisor, or granularity=row"
        )
    return weight.float().reshape(-1, group_size)


def fit_grid(groups: Float[Tensor, "groups members"], bits: int, convention: str) -> Grid:
    """Fits the grid of each group by the named convention, with N = `bits`.

    - `absmax`: step max|w| / (2^(N-1) - 1), levels -(2^(N-1) - 1) .. 2^(N-1) - 1. Levels mirror
      around 0, the largest weight is kept exactly, and rounding twice changes no code.
    - `paper`: step max|w| / 2^(N-1), levels -2^(N-1) .. 2^(N-1) - 1 (Zhang et al., arXiv
      2410.16454, Eq. 2). The equation has no clamp and would need 2^N + 1 levels; here codes are
      clamped to the 2^N levels of N bits, so a weight at +max|w| is rounded down by one whole step,
      while -max|w| is kept.
    - `full_range`: step max|w| / (2^(N-1) - 1/2), the same levels as `paper`. The error is half a
      step at +-max|w|.
    - `minmax`: step (max - min) / (2^N - 1) with min <= 0 <= max, levels 0 .. 2^N - 1 around a
      rounded zero point, so that 0 stays exact (llm-compressor's asymmetric scheme).

    Raises `ValueError` for weights that are NaN or infinite, or whose range exceeds float32.

    Args:
        groups: the weights, one row per set that shares a step.
        bits: bits per weight.
        convention: the name of the convention.
    """
    low = groups.amin(dim=1, keepdim=True).clamp(max=0)
    high = groups.amax(dim=1, keepdim=True).clamp(min=0)
    if not torch.isfinite(high - low).all():
        bad = int((~torch.isfinite(groups)).sum())
        raise ValueError(
            f"{bad} of {groups.numel()} weights are NaN or infinite: only finite weights whose "
            "range fits float32 can be quantized"
        )
    if convention == "minmax":
        return _minmax_grid(low, high, 2**bits - 1)
    half = 2 ** (bits - 1)
    divisors = {"absmax": half - 1, "paper": half, "full_range": half - 0.5}
    if convention not in divisors:
        raise ValueError(
            f"convention={convention!r}: must be one of {', '.join([*divisors, 'minmax'])}"
        )
    steps = torch.maximum(-low, high) / divisors[convention]
    lowest = 1 - half if convention == "absmax" else -half
    return Grid(steps=steps, zero_points=torch.zeros_like(steps), lowest=lowest, highest=half - 1)


def _minmax_grid(
    low: Float[Tensor, "groups 1"], high: Float[Tensor, "groups 1"], highest: int
) -> Grid:
    steps = (high - low) / highest
    zero_points = torch.where(steps > 0, torch.round(-low / steps), 0.0)
    return Grid(steps=steps, zero_points=zero_points, lowest=0, highest=highest)


def nearest_codes(
    groups: Float[Tensor, "groups members"], grid: Grid
) -> Float[Tensor, "groups members"]:
    """Returns each weight's nearest level, counted from the level of 0; 0 if the step is zero."""
    levels = torch.round(groups / grid.steps + grid.zero_points).clamp(grid.lowest, grid.highest)
    return torch.where(grid.steps > 0, levels - grid.zero_points, 0.0)


def relative_error(rounded: Float[Tensor, "out in"], weight: Float[Tensor, "out in"]) -> float:
    """Returns ||rounded - weight|| / ||weight|| (Frobenius, in float32); 0 for a zero weight."""
    difference = torch.linalg.vector_norm(rounded.float() - weight.float())
    norm = torch.linalg.vector_norm(weight.float())
    return float(difference / norm) if norm > 0 else 0.0
