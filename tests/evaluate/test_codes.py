"""Weight-level figures by hand, and the bfloat16 rule against every bfloat16 number."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unlearn_lab.evaluate.codes import (
    Coder,
    _spacing,
    cannot_move,
    compare_codes,
    compare_moves,
)
from unlearn_lab.quantize.none import NoQuantizer
from unlearn_lab.quantize.rtn import RTN

RTN3 = RTN(bits=3, symmetric=True, granularity="row", group_size=None, convention="absmax")


def by(quantizer) -> tuple[Coder, Coder]:
    """Both models' codes as the quantizer rounds their weights."""
    return (lambda _, weight: quantizer.codes(weight),) * 2


TARGET = {"a": torch.tensor([[6.0, 2.0, 0.5, 0.0]]), "b": torch.tensor([[3.0, -1.0]])}
UNLEARNED = {"a": torch.tensor([[6.0, 3.5, 1.0, 0.0]]), "b": torch.tensor([[3.0, -1.0]])}


def test_by_hand() -> None:
    """3 bits, row a: step 2, codes (3, 1, 0, 0) -> (3, 2, 0, 0), d = (0, 1.5, 0.5, 0).

    |d| over half a step: (0, 1.5, 0.5, 0), mean 0.5; ||Q(w+d) - Q(w)|| / ||d|| = 2 / sqrt(2.5).
    """
    layer = compare_codes(TARGET, UNLEARNED, by(RTN3), learning_rate=1e-3, stochastic=False).layers[
        "a"
    ]
    assert layer.num_weights == 4
    assert layer.flip_rate == 0.25
    assert layer.moved == 0.5
    assert layer.zero_bin == 0.5
    assert layer.relative_step == pytest.approx(0.5)
    assert layer.update_kept == pytest.approx(2 / math.sqrt(2.5))
    assert layer.cannot_move is None


def test_a_layer_that_did_not_move() -> None:
    layer = compare_codes(TARGET, UNLEARNED, by(RTN3), learning_rate=1e-3, stochastic=False).layers[
        "b"
    ]
    assert (layer.flip_rate, layer.moved, layer.zero_bin, layer.relative_step) == (0, 0, 0, 0)
    assert layer.update_kept is None


def test_overall_every_weight_counts_once() -> None:
    """Four weights of a and two of b: 1 flip and 2 moves of 6."""
    overall = compare_codes(
        TARGET, UNLEARNED, by(RTN3), learning_rate=1e-3, stochastic=False
    ).overall
    assert overall.num_weights == 6
    assert overall.flip_rate == pytest.approx(1 / 6)
    assert overall.moved == pytest.approx(2 / 6)
    assert overall.zero_bin == pytest.approx(2 / 6)
    assert overall.relative_step == pytest.approx(2 / 6)
    assert overall.update_kept == pytest.approx(2 / math.sqrt(2.5))


def test_the_norm_ratio_is_over_all_layers_together() -> None:
    """Row b doubles its step: codes (3, -1) -> (3, 0), Q(w) (3, -1) -> (6, 0), d = (3, 0).

    So b keeps 10 of 9 and a keeps 4 of 2.5 squares: together sqrt(14 / 11.5), no mean of ratios.
    """
    unlearned = {**UNLEARNED, "b": torch.tensor([[6.0, -1.0]])}
    report = compare_codes(TARGET, unlearned, by(RTN3), learning_rate=1e-3, stochastic=False)
    assert report.layers["b"].flip_rate == 0.5
    assert report.layers["b"].update_kept == pytest.approx(math.sqrt(10 / 9))
    assert report.overall.update_kept == pytest.approx(math.sqrt(14 / 11.5))


def test_without_a_grid_only_moves_are_counted() -> None:
    overall = compare_codes(
        TARGET, UNLEARNED, by(NoQuantizer()), learning_rate=1e-3, stochastic=False
    ).overall
    assert overall.moved == pytest.approx(2 / 6)
    assert overall.flip_rate is overall.zero_bin is overall.relative_step is None
    assert overall.update_kept is None


def test_rows_without_a_step_stay_out_of_the_relative_step() -> None:
    target = {"a": torch.tensor([[0.0, 0.0], [3.0, 0.0]])}
    unlearned = {"a": torch.tensor([[9.0, 0.0], [3.0, 1.0]])}
    layer = compare_codes(target, unlearned, by(RTN3), learning_rate=1e-3, stochastic=False).layers[
        "a"
    ]
    assert layer.relative_step == pytest.approx((0 + 1 / 0.5) / 2)
    zeros = {"a": torch.zeros(1, 2)}
    assert (
        compare_codes(
            zeros, zeros, by(RTN3), learning_rate=1e-3, stochastic=False
        ).overall.relative_step
        is None
    )


def test_the_target_is_cast_to_the_unlearned_dtype_first() -> None:
    """1.001 is 1.0 in bfloat16: the cast alone must not count as a move."""
    target = {"a": torch.tensor([[1.001, 2.0]])}
    unlearned = {"a": torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)}
    layer = compare_codes(
        target, unlearned, by(RTN3), learning_rate=2**-8, stochastic=False
    ).layers["a"]
    assert layer.moved == 0.0
    # Spacing 2^-7 above 1 and 2^-8 below: a step of 2^-8 down reaches a neighbour of 1, none of 2.
    assert layer.cannot_move == 0.5


def test_gradients_are_no_obstacle() -> None:
    weight = {"a": torch.nn.Parameter(torch.ones(1, 2))}
    assert (
        compare_codes(weight, weight, by(RTN3), learning_rate=1e-3, stochastic=False).overall.moved
        == 0.0
    )


def every_finite_bfloat16() -> Tensor:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    values = bits.view(torch.bfloat16)
    return values[values.isfinite()]


def neighbours(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The next bfloat16 numbers towards and away from zero, in float64, by their bit patterns."""
    bits = weight.view(torch.int16).to(torch.int32)
    magnitude = bits & 0x7FFF
    below, above = ((magnitude + move).to(torch.int16).view(torch.bfloat16) for move in (-1, 1))
    return below.double(), above.double()


@pytest.mark.parametrize("learning_rate", [1e-5, 5e-5, 1e-4, 1e-3, 2**-13, 2**-9, 0.5, 3.0])
def test_cannot_move_equals_the_spacing_rule_for_every_bfloat16(learning_rate: float) -> None:
    """A step stays inside half the spacing on either side; at exactly half, even mantissas stay.

    The spacing comes from neighbouring bit patterns, in exact float64.
    """
    weight = every_finite_bfloat16()
    weight = weight[(weight != 0) & (weight.abs() < 1e30)]
    size = weight.abs().double()
    below, above = neighbours(weight)
    even = weight.view(torch.int16) % 2 == 0
    up, down = (above - size) / 2, (size - below) / 2
    stays_up = (learning_rate < up) | ((learning_rate == up) & even)
    stays_down = (learning_rate < down) | ((learning_rate == down) & even)
    assert torch.equal(cannot_move(weight, learning_rate), stays_up & stays_down)


@pytest.mark.parametrize("learning_rate", [1e-5, 1e-4, 3e-4])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_first_adamw_step_moves_no_weight_that_cannot_move(
    learning_rate: float, sign: float
) -> None:
    """AdamW's first step is lr in the gradient's direction, for every bfloat16 up to 8.

    Up to the rounding of its moments to bfloat16 (0.1 %): so no lr that is a power of two here.
    """
    weight = every_finite_bfloat16()
    weight = weight[weight.abs() < 8]
    stuck = cannot_move(weight, learning_rate)
    parameter = torch.nn.Parameter(weight.clone())
    parameter.grad = torch.full_like(parameter, sign)
    torch.optim.AdamW([parameter], lr=learning_rate, weight_decay=0.0, eps=1e-12).step()
    moved = parameter.detach() != weight
    assert 0 < stuck.sum() < len(stuck)
    assert not (moved & stuck).any()


def test_zero_can_move() -> None:
    assert not cannot_move(torch.zeros(1, dtype=torch.bfloat16), 1e-5).item()


@pytest.mark.parametrize("learning_rate", [0.0, -1e-5, float("nan")])
def test_refuses_a_learning_rate_that_is_none(learning_rate: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        compare_codes(TARGET, UNLEARNED, by(RTN3), learning_rate=learning_rate, stochastic=False)


def test_refuses_other_layers_and_shapes() -> None:
    with pytest.raises(ValueError, match=r"same layers.* only one of them: \['b'\]"):
        compare_codes(TARGET, {"a": UNLEARNED["a"]}, by(RTN3), learning_rate=1e-3, stochastic=False)
    with pytest.raises(ValueError, match="at least one"):
        compare_codes({}, {}, by(RTN3), learning_rate=1e-3, stochastic=False)
    with pytest.raises(ValueError, match=r"layer b: target has shape \(1, 2\) and .*\(1, 4\)"):
        compare_codes(
            TARGET,
            {**UNLEARNED, "b": torch.ones(1, 4)},
            by(RTN3),
            learning_rate=1e-3,
            stochastic=False,
        )


def test_stochastic_rounding_bars_no_weight() -> None:
    weights = {"a": torch.tensor([[1.0, 1e-4, 100.0]]).bfloat16()}
    barred = compare_codes(weights, weights, by(RTN3), learning_rate=1e-5, stochastic=False)
    free = compare_codes(weights, weights, by(RTN3), learning_rate=1e-5, stochastic=True)
    assert barred.overall.cannot_move == pytest.approx(2 / 3)
    assert free.overall.cannot_move == 0


def test_moves_are_counted_over_parameters_of_any_shape() -> None:
    """Of two weights in a vector one moved, of four in a matrix none: 1 of 6."""
    before = {"v": torch.tensor([1.0, 2.0]), "m": torch.ones(2, 2)}
    after = {**before, "v": torch.tensor([1.0, 2.5])}
    moves = compare_moves(before, after, learning_rate=1e-5, stochastic=False)
    assert moves.moved == pytest.approx(1 / 6)
    assert moves.cannot_move is None
    halves = {name: weight.bfloat16() for name, weight in before.items()}
    stuck = compare_moves(halves, halves, learning_rate=1e-5, stochastic=False)
    assert (stuck.moved, stuck.cannot_move) == (0, 1)
    assert compare_moves(halves, halves, learning_rate=1e-5, stochastic=True).cannot_move == 0


def test_steps_are_medians_over_the_weights_that_moved() -> None:
    """In bfloat16 the neighbours of 1 are 2**-7 apart above it, those of 3 are 2**-6 apart."""
    before = {"a": torch.tensor([1.0, 1.0, 3.0, 0.0, 5.0]), "b": torch.tensor([[1.0]])}
    after = {"a": torch.tensor([1.0, 1.5, 3.125, 0.25, 5.0]), "b": torch.tensor([[0.0]])}
    moves = compare_moves(before, after, learning_rate=None, stochastic=False)
    assert moves.step == 0.25  # of 0.125, 0.25, 0.5 and 1
    assert moves.step_in_spacings == 64  # of 8, 64 and 128; zero has no spacing
    assert moves.cannot_move is None
    still = compare_moves(before, before, learning_rate=None, stochastic=False)
    assert (still.step, still.step_in_spacings) == (None, None)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40))
def test_the_median_step_is_numpy_s_to_the_precision_of_bfloat16(steps: list[float]) -> None:
    weights = {"a": torch.zeros(len(steps))}
    moved = {"a": torch.tensor(steps)}
    found = compare_moves(weights, moved, learning_rate=None, stochastic=False).step
    assert found == pytest.approx(np.quantile(steps, 0.5, method="lower"), rel=2**-8)


def test_the_spacing_is_that_of_bfloat16() -> None:
    weights = torch.tensor([1.0, 1.99, 2.0, -0.75, 3e-3, 1e5]).bfloat16()
    above = torch.nextafter(weights.abs(), torch.tensor(torch.inf, dtype=torch.bfloat16))
    assert torch.equal(_spacing(weights.float()), (above.float() - weights.abs().float()))


def test_without_a_rate_nothing_is_said_of_what_cannot_move() -> None:
    weights = {"a": torch.tensor([[1.0, 1e-4, 100.0]]).bfloat16()}
    report = compare_codes(weights, weights, by(RTN3), learning_rate=None, stochastic=False)
    assert report.overall.cannot_move is None
    assert report.overall.moved == 0
