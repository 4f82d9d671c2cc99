"""Explains recovery by weights: which moved, which could move, which changed integer code."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import BFloat16, Bool, Float, Int64
from torch import Tensor

from unlearn_lab.quantize.quantizer import Codes

_BINS = 2**15
"""Non-negative values of bfloat16."""
Weights = Mapping[str, Tensor]
Sums = Mapping[str, int | float]
Coder = Callable[[str, Tensor], Codes | None]
"""Returns the codes of a layer from its name and weight; None if there is no grid."""


@dataclass(frozen=True, kw_only=True)
class CodeFigures:
    """Effect of unlearning and a quantizer Q on a set of weights: w of the target, w + d unlearned.

    Figures that need a grid are None under a quantizer without one; the last two also need a step,
    which level tables (nf4, fp4) and rescaled weights (AWQ) do not have.

    Attributes:
        num_weights: number of weights.
        flip_rate: share of weights whose integer code differs between Q(w) and Q(w + d), each on
            its own grid.
        moved: share of weights with d != 0.
        cannot_move: share of w that an AdamW step of the learning rate cannot change; None unless w
            is bfloat16 and the rate known, 0 where updates are rounded stochastically or come from
            merged adapters.
        zero_bin: share of w with code 0.
        relative_step: mean of |d| divided by half a quantization step of w, over the weights whose
            step is not zero.
        update_kept: ||Q(w + d) - Q(w)|| / ||d|| in the Frobenius norm; None where nothing moved.
    """

    num_weights: int
    flip_rate: float | None
    moved: float
    cannot_move: float | None
    zero_bin: float | None
    relative_step: float | None
    update_kept: float | None


@dataclass(frozen=True, kw_only=True)
class CodeReport:
    """Figures by layer name, and over all layers together, where each weight counts equally."""

    layers: Mapping[str, CodeFigures]
    overall: CodeFigures


@dataclass(frozen=True, kw_only=True)
class Moves:
    """How far unlearning moved the weights of a model, over all of them.

    Attributes:
        moved: as in `CodeFigures`.
        cannot_move: as in `CodeFigures`.
        step: median of |d| over the weights that moved; None where none did.
        step_in_spacings: median of |d| over the spacing of bfloat16 at w, over the weights that
            moved and were not 0; None where there is none.
    """

    moved: float
    cannot_move: float | None
    step: float | None
    step_in_spacings: float | None


def compare_codes(
    target: Weights,
    unlearned: Weights,
    coders: tuple[Coder, Coder],
    *,
    learning_rate: float | None,
    stochastic: bool,
) -> CodeReport:
    """Compares the weights of two models' block linears, by layer name, under a quantizer.

    The target is cast to the dtype (and device) of the unlearned weight first. Q is taken before
    the cast back to the weight's dtype. Raises `ValueError` when the two models have different
    layers or shapes, no layer at all, or when `learning_rate` is not positive.

    Args:
        target: the target's weights by layer name.
        unlearned: the unlearned model's weights by layer name.
        coders: return the codes of the target and of the unlearned model.
        learning_rate: the learning rate of unlearning, for `cannot_move`; None if unknown.
        stochastic: whether updates of any size can move weights: rounded stochastically, or merged
            from adapters.
    """
    if learning_rate is not None and not learning_rate > 0:
        raise ValueError(f"learning_rate={learning_rate}: must be above 0")
    _check_alike(target, unlearned)
    smallest = math.inf if stochastic else learning_rate
    sums = {
        name: _sums(name, target[name].detach().to(weight), weight.detach(), coders, smallest)
        for name, weight in unlearned.items()
    }
    return CodeReport(
        layers={name: _figures(layer) for name, layer in sums.items()},
        overall=_figures(_total(list(sums.values()))),
    )


def compare_moves(
    target: Weights, unlearned: Weights, *, learning_rate: float | None, stochastic: bool
) -> Moves:
    """Compares weights of any shape without a quantizer; arguments as in `compare_codes`.

    Medians are exact to the precision of bfloat16.
    """
    _check_alike(target, unlearned)
    smallest = math.inf if stochastic else learning_rate
    sums: list[Sums] = []
    steps, spaced = (torch.zeros(_BINS, dtype=torch.int64) for _ in range(2))
    for name, weight in unlearned.items():
        before, after = target[name].detach().to(weight), weight.detach()
        sums.append(_moves(before, after, smallest))
        old = before[before != after].float()
        step = (after[before != after].float() - old).abs()
        steps += _counts(step)
        spaced += _counts(step[old != 0] / _spacing(old[old != 0]))
    total = _total(sums)
    return Moves(
        moved=total["moved"] / total["num_weights"],
        cannot_move=_ratio(total, "cannot_move", "num_bfloat16"),
        step=_median(steps),
        step_in_spacings=_median(spaced),
    )


def _spacing(weights: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
    """Returns the distance of neighbouring bfloat16 values at float32 weights other than 0."""
    return torch.ldexp(torch.ones_like(weights), torch.frexp(weights).exponent - 8)


def _counts(values: Float[Tensor, " count"]) -> Int64[Tensor, " bins"]:
    """Counts positive values by the bfloat16 that each rounds to."""
    bits = values.to(torch.bfloat16).view(torch.int16).long()
    return torch.bincount(bits, minlength=_BINS).cpu()


def _median(counts: Int64[Tensor, " bins"]) -> float | None:
    """Returns the lower median of values counted by `_counts`; None if there are none."""
    number = int(counts.sum())
    if number == 0:
        return None
    place = int((counts.cumsum(0) > (number - 1) // 2).nonzero()[0])
    return torch.tensor(place, dtype=torch.int16).view(torch.bfloat16).item()


def cannot_move(weight: BFloat16[Tensor, "..."], learning_rate: float) -> Bool[Tensor, "..."]:
    """Marks bfloat16 weights that a step of size `learning_rate` changes neither up nor down.

    The test is the addition itself: w + lr and w - lr, in float32 as torch's AdamW computes them,
    both round back to w in bfloat16. So lr is at most half the spacing on both sides, with ties to
    the even mantissa. The spacing below a power of two is half that above it: such a weight counts
    as movable if a step down moves it. AdamW's step is about lr: rounding of its moments, their
    later values and weight decay are ignored.
    """
    exact = weight.float()
    up = (exact + learning_rate).to(torch.bfloat16)
    down = (exact - learning_rate).to(torch.bfloat16)
    return (up == weight) & (down == weight)


def _sums(
    name: str,
    before: Float[Tensor, "out in"],
    after: Float[Tensor, "out in"],
    coders: tuple[Coder, Coder],
    learning_rate: float | None,
) -> Sums:
    """Returns numerators and denominators of one layer's figures, which sum over layers."""
    sums = _moves(before, after, learning_rate)
    old, new = coders[0](name, before), coders[1](name, after)
    if old is None or new is None:
        return sums
    return {**sums, **_grid_sums(after.float() - before.float(), old, new)}


def _moves(
    before: Float[Tensor, "*shape"], after: Float[Tensor, "*shape"], learning_rate: float | None
) -> dict[str, int | float]:
    sums: dict[str, int | float] = {
        "num_weights": before.numel(),
        "moved": int((before != after).sum()),
    }
    if before.dtype == torch.bfloat16 and learning_rate is not None:
        sums["num_bfloat16"] = before.numel()
        sums["cannot_move"] = int(cannot_move(before, learning_rate).sum())
    return sums


def _grid_sums(update: Float[Tensor, "out in"], old: Codes, new: Codes) -> Sums:
    counts = {
        "num_coded": update.numel(),
        "flipped": int((old.integers != new.integers).sum()),
        "zero": int((old.integers == 0).sum()),
    }
    if old.steps is None or new.steps is None:
        return counts
    stepped = old.steps > 0
    kept = new.integers * new.steps - old.integers * old.steps
    return {
        **counts,
        "num_stepped": int(stepped.sum()),
        "relative_steps": _exact_sum(2 * update.abs()[stepped] / old.steps[stepped]),
        "kept_squares": _exact_sum(kept.square()),
        "update_squares": _exact_sum(update.square()),
    }


def _exact_sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))


def _total(layers: Sequence[Sums]) -> Sums:
    names = {name for layer in layers for name in layer}
    return {name: sum(layer.get(name, 0) for layer in layers) for name in names}


def _figures(sums: Sums) -> CodeFigures:
    kept = _ratio(sums, "kept_squares", "update_squares")
    return CodeFigures(
        num_weights=int(sums["num_weights"]),
        flip_rate=_ratio(sums, "flipped", "num_coded"),
        moved=sums["moved"] / sums["num_weights"],
        cannot_move=_ratio(sums, "cannot_move", "num_bfloat16"),
        zero_bin=_ratio(sums, "zero", "num_coded"),
        relative_step=_ratio(sums, "relative_steps", "num_stepped"),
        update_kept=math.sqrt(kept) if kept is not None else None,
    )


def _ratio(sums: Sums, numerator: str, denominator: str) -> float | None:
    return sums[numerator] / sums[denominator] if sums.get(denominator, 0) > 0 else None


def _check_alike(target: Weights, unlearned: Weights) -> None:
    if not unlearned or target.keys() != unlearned.keys():
        differing = sorted(target.keys() ^ unlearned.keys())
        raise ValueError(
            "target and unlearned must hold the same layers, at least one; "
            f"found in only one of them: {differing}"
        )
    for name, weight in unlearned.items():
        if target[name].shape != weight.shape:
            raise ValueError(
                f"layer {name}: target has shape {tuple(target[name].shape)} and "
                f"unlearned {tuple(weight.shape)}: must be equal"
            )
