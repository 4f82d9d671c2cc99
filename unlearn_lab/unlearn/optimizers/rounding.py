"""Rounds float32 weights to bfloat16 without losing small updates on average."""

import hashlib

import torch
from jaxtyping import BFloat16, Float32
from torch import Tensor

_DROPPED_BITS = 16


def stochastic_round(
    values: Float32[Tensor, "..."], generator: torch.Generator
) -> BFloat16[Tensor, "..."]:
    """Rounds each value to one of its two bfloat16 neighbours at random, the nearer the likelier.

    The expected result is the value itself. Values that are exact in bfloat16 do not change, so a
    weight with a zero update keeps its bits; NaN and infinity are kept. A uniform integer below
    2**16 is added to the 16 bits that bfloat16 drops from a float32; a carry moves the value away
    from zero.
    """
    noise = torch.randint(
        1 << _DROPPED_BITS,
        values.shape,
        dtype=torch.int32,
        device=values.device,
        generator=generator,
    )
    rounded = (values.contiguous().view(torch.int32) + noise) & ~((1 << _DROPPED_BITS) - 1)
    moved = rounded.view(torch.float32)
    return torch.where(torch.isfinite(values), moved, values).to(torch.bfloat16)


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Returns the generator of one step, so that a resumed training draws the same numbers.

    Args:
        seed: the seed of the training.
        step: the optimizer step, from 0.
        device: where the numbers are drawn.
    """
    digest = hashlib.sha256(f"{seed}/rounding/{step}".encode()).digest()
    # torch's CPU generator uses only 32 bits of a seed
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:4]))
