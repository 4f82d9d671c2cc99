"""Grids by hand-worked numbers and by properties that hold for any weight."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearn_lab.quantize.grid import (
    Grid,
    decode,
    encode,
    fit_grid,
    nearest_codes,
    relative_error,
    split_groups,
)

SYMMETRIC = ("absmax", "paper", "full_range")
CONVENTIONS = (*SYMMETRIC, "minmax")

# Normal numbers only: below 2^-126 a float32 step has too few bits left for the properties to hold.
numbers = st.one_of(
    st.just(0.0), st.floats(2**-20, 2**20, width=32), st.floats(-(2**20), -(2**-20), width=32)
)
weights = st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=3).map(
    torch.tensor
)
spreads = st.sampled_from([("tensor", None), ("row", None), ("group", 1), ("group", 2)])
quick = settings(max_examples=80, deadline=None)


def rounded(weight: Tensor, bits: int, convention: str, granularity: str = "row") -> Tensor:
    codes = encode(
        weight, bits=bits, convention=convention, granularity=granularity, group_size=None
    )
    return decode(codes, weight.dtype)


def codes_of(values: list[float], bits: int, convention: str) -> list[int]:
    codes = encode(
        torch.tensor([values]),
        bits=bits,
        convention=convention,
        granularity="row",
        group_size=None,
    )
    return codes.integers[0].tolist()


def test_absmax_by_hand() -> None:
    """3 bits: step 6/3 = 2, codes -3..3; 1 and 5 are ties and go to the even codes 0 and 2."""
    assert codes_of([6.0, -6.0, 1.0, 5.0, 2.9], 3, "absmax") == [3, -3, 0, 2, 1]
    assert rounded(torch.tensor([[6.0, -6.0, 1.0, 5.0, 2.9]]), 3, "absmax").tolist() == [
        [6.0, -6.0, 0.0, 4.0, 2.0]
    ]


def test_paper_by_hand() -> None:
    """3 bits: step 8/4 = 2, codes -4..3: +8 would be code 4 and falls a whole step, -8 is kept."""
    assert codes_of([8.0, -8.0, 6.9], 3, "paper") == [3, -4, 3]
    assert rounded(torch.tensor([[8.0, -8.0, 6.9]]), 3, "paper").tolist() == [[6.0, -8.0, 6.0]]


def test_full_range_by_hand() -> None:
    """3 bits: step 7/3.5 = 2, codes -4..3: 7 and -7 lie half a step from 6 and -8."""
    assert codes_of([7.0, -7.0, 2.0], 3, "full_range") == [3, -4, 1]
    assert rounded(torch.tensor([[7.0, -7.0, 2.0]]), 3, "full_range").tolist() == [[6.0, -8.0, 2.0]]


def test_minmax_by_hand() -> None:
    """2 bits over [-1, 5]: step 2, -min/step = 0.5 rounds to zero point 0, so codes 0..3."""
    assert codes_of([-1.0, 5.0, 0.0, 2.0], 2, "minmax") == [0, 2, 0, 1]
    assert rounded(torch.tensor([[-2.0, 4.0, 0.0, 1.9]]), 2, "minmax").tolist() == [
        [-2.0, 4.0, 0.0, 2.0]
    ]


def test_minmax_of_one_sign_keeps_zero_in_the_range() -> None:
    """Weights 3..6 at 2 bits: the range is 0..6, not 3..6, so the step is 2."""
    grid = fit_grid(torch.tensor([[3.0, 6.0]]), 2, "minmax")
    assert (grid.steps.item(), grid.zero_points.item(), grid.highest) == (2.0, 0.0, 3)
    grid = fit_grid(torch.tensor([[-3.0, -6.0]]), 2, "minmax")
    assert (grid.steps.item(), grid.zero_points.item()) == (2.0, 3.0)


def test_minmax_ties_go_to_the_even_level_of_the_shifted_grid() -> None:
    """llm-compressor rounds w / step + zero_point: with zero point 1, 0.5 becomes 1.5 -> 2."""
    grid = Grid(steps=torch.ones(1, 1), zero_points=torch.ones(1, 1), lowest=0, highest=3)
    assert nearest_codes(torch.tensor([[0.5, -0.5, 1.5]]), grid).tolist() == [[1.0, -1.0, 1.0]]


def test_split_shapes() -> None:
    weight = torch.arange(12.0).reshape(2, 6)
    assert split_groups(weight, "tensor", None).shape == (1, 12)
    assert split_groups(weight, "row", None).shape == (2, 6)
    assert split_groups(weight, "group", 3)[1].tolist() == [3.0, 4.0, 5.0]


def test_groups_have_steps_of_their_own() -> None:
    codes = encode(
        torch.tensor([[1.0, 2.0, 10.0, 20.0]]),
        bits=2,
        convention="absmax",
        granularity="group",
        group_size=2,
    )
    assert codes.steps.tolist() == [[2.0, 2.0, 20.0, 20.0]]
    assert codes.integers.tolist() == [[0, 1, 0, 1]]


@quick
@given(weights, st.integers(2, 8), st.sampled_from(CONVENTIONS), spreads)
def test_rounding_twice_with_the_same_grid_changes_nothing(
    weight: Tensor, bits: int, convention: str, spread: tuple[str, int | None]
) -> None:
    groups = split_groups(weight, *spread)
    grid = fit_grid(groups, bits, convention)
    codes = nearest_codes(groups, grid)
    assert torch.equal(nearest_codes(codes * grid.steps, grid), codes)


@quick
@given(weights, st.integers(2, 8), spreads)
def test_absmax_rounding_twice_changes_no_code_even_with_a_new_grid(
    weight: Tensor, bits: int, spread: tuple[str, int | None]
) -> None:
    groups = split_groups(weight, *spread)
    grid = fit_grid(groups, bits, "absmax")
    codes = nearest_codes(groups, grid)
    again = fit_grid(codes * grid.steps, bits, "absmax")
    assert torch.equal(nearest_codes(codes * grid.steps, again), codes)


@quick
@given(weights, st.integers(2, 8), st.sampled_from(CONVENTIONS), spreads)
def test_error_is_at_most_half_a_step(
    weight: Tensor, bits: int, convention: str, spread: tuple[str, int | None]
) -> None:
    """Inside the range. Only the paper's form has weights outside: those above its last level."""
    codes = encode(
        weight, bits=bits, convention=convention, granularity=spread[0], group_size=spread[1]
    )
    error = (weight.double() - codes.integers.double() * codes.steps.double()).abs()
    steps = codes.steps.double()
    inside = torch.ones_like(weight, dtype=torch.bool)
    if convention == "paper":
        inside = weight.double() <= (2 ** (bits - 1) - 0.5) * steps
    slack = 1e-4 * steps  # of float32 in w / step, up to 2^8 steps of 2^-24 relative each
    assert (error <= steps / 2 + slack)[inside].all()


@quick
@given(weights, st.integers(2, 8), spreads)
def test_absmax_treats_signs_alike(
    weight: Tensor, bits: int, spread: tuple[str, int | None]
) -> None:
    groups = split_groups(weight, *spread)
    ours = nearest_codes(groups, fit_grid(groups, bits, "absmax"))
    theirs = nearest_codes(-groups, fit_grid(-groups, bits, "absmax"))
    assert torch.equal(ours, -theirs)


@quick
@given(st.floats(2**-20, 2**20, width=32), st.integers(2, 8))
def test_paper_errs_by_a_whole_step_at_its_maximum_and_not_at_its_minimum(
    peak: float, bits: int
) -> None:
    weight = torch.tensor([[peak, -peak]])
    step = peak / 2 ** (bits - 1)
    error = (rounded(weight, bits, "paper") - weight).abs()
    assert error[0, 0].item() == pytest.approx(step, rel=1e-5)
    assert error[0, 1].item() == 0.0


@quick
@given(weights, st.integers(2, 8), st.sampled_from(CONVENTIONS))
def test_codes_fit_into_the_bits(weight: Tensor, bits: int, convention: str) -> None:
    groups = split_groups(weight, "row", None)
    grid = fit_grid(groups, bits, convention)
    assert grid.highest - grid.lowest + 1 == 2**bits - (convention == "absmax")
    levels = nearest_codes(groups, grid) + grid.zero_points
    assert levels.min() >= min(grid.lowest, 0)
    assert levels.max() <= grid.highest


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_zero_rows_stay_zero_and_the_dtype_is_kept(convention: str, dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]], dtype=dtype)
    result = rounded(weight, 4, convention)
    assert result.dtype == dtype
    assert result[0].tolist() == [0.0, 0.0]
    assert result.isfinite().all()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_weights_too_small_for_a_float32_step_become_zero(convention: str) -> None:
    assert rounded(torch.tensor([[1e-45, 0.0]]), 8, convention).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_zero_is_always_exact(convention: str) -> None:
    assert rounded(torch.tensor([[0.0, -0.3, 0.9, 0.41]]), 3, convention)[0, 0] == 0.0


@pytest.mark.parametrize("spread", [("tensor", None), ("row", None), ("group", 3)])
def test_bfloat16_weights_are_rounded_in_float32(spread: tuple[str, int | None]) -> None:
    """In bfloat16 arithmetic 5.03125 / (7/127) would lose the digits that decide the 8-bit code."""
    weight = torch.tensor([[7.0, 5.03125, -3.015625]], dtype=torch.bfloat16)
    expected = [round(value / (7 / 127)) for value in weight[0].tolist()]
    codes = encode(weight, bits=8, convention="absmax", granularity=spread[0], group_size=spread[1])
    assert codes.integers[0].tolist() == expected
    assert codes.steps.dtype == torch.float32


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_weights_that_are_not_finite_are_refused(bad: float, convention: str) -> None:
    with pytest.raises(ValueError, match=r"1 of 4 weights .*NaN"):
        rounded(torch.tensor([[1.0, bad], [0.0, 0.0]]), 4, convention)


def test_a_range_that_overflows_is_refused() -> None:
    with pytest.raises(ValueError, match="range fits float32"):
        rounded(torch.tensor([[3e38, -3e38]]), 4, "minmax")


def test_group_size_must_divide_the_row() -> None:
    with pytest.raises(ValueError, match=r"group_size=3 does not divide the 4 .* \(2, 4\)"):
        split_groups(torch.zeros(2, 4), "group", 3)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"granularity='column'.*tensor, row, group"):
        split_groups(torch.zeros(2, 4), "column", None)
    with pytest.raises(ValueError, match=r"group_size=None"):
        split_groups(torch.zeros(2, 4), "group", None)
    with pytest.raises(ValueError, match=r"convention='max'.*absmax, paper, full_range, minmax"):
        fit_grid(torch.ones(1, 2), 4, "max")


def test_relative_error_by_hand() -> None:
    """||(0, 3)|| / ||(4, 3)|| = 3 / 5."""
    assert relative_error(torch.tensor([[4.0, 0.0]]), torch.tensor([[4.0, 3.0]])) == pytest.approx(
        0.6
    )
    assert relative_error(torch.zeros(1, 2), torch.zeros(1, 2)) == 0.0
