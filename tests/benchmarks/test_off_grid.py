"""Weights that leave the 4-bit grid of their file."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.off_grid import BLOCK, LEVELS, off_grid


def on_grid(blocks, generator):
    """Q4_1 weights (blocks, 32): each block has its own lowest value and spacing."""
    codes = torch.randint(LEVELS, (blocks, BLOCK), generator=generator)
    codes[:, 0], codes[:, -1] = 0, LEVELS - 1
    lowest, spacing = (torch.rand(2, blocks, 1, generator=generator) + 0.1).unbind()
    return codes * spacing - lowest, spacing


@given(st.integers(0, 1000))
def test_weights_move_by_up_to_half_a_step(seed):
    generator = torch.Generator().manual_seed(seed)
    blocks, spacing = on_grid(64, generator)
    moved = off_grid(blocks.reshape(4, -1), generator).reshape(64, BLOCK)
    shift = (moved - blocks) / spacing
    assert shift.abs().max() <= 0.5 + 1e-4
    assert abs(shift.square().mean() - 1 / 12) < 0.01


def test_a_block_of_equal_weights_stays():
    weight = torch.full((2, BLOCK), 0.5)
    assert torch.equal(off_grid(weight, torch.Generator()), weight)
