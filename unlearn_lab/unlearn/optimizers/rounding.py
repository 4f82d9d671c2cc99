"""Decides how float32 weights become bfloat16 without losing small updates on average."""

import hashlib

import torch
from jaxtyping import BFloat16, Float32
from torch import Tensor

_DROPPED_BITS = 16


def stochastic_round(
    values: Float32[Tensor, "..."], generator: torch.Generator
) -> BFloat16[Tensor, "..."]:
    """Each value goes to one of its two bfloat16 neighbours, the nearer the likelier.

    The expected result is the value itself. A value that bfloat16 holds is kept, so a weight whose
    update is zero keeps its bits; NaN and infinity stay what they are. Works on the sixteen bits
    that bfloat16 drops from a float32: a uniform number below 2**16 is added, and what carries over
    moves the value away from zero.
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
    """The generator of one training step: a resumed training draws what an unbroken one would."""
    digest = hashlib.sha256(f"{seed}/rounding/{step}".encode()).digest()
    # torch's CPU generator reads 32 bits of a seed
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:4]))
