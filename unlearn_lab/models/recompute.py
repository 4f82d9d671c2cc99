"""Decides whether activations inside the blocks are kept for the backward pass or made again."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.device import device_of
from unlearn_lab.models.linears import blocks_name


@contextmanager
def recomputed_blocks(model: PreTrainedModel, runtime: Runtime) -> Iterator[None]:
    """Gradient checkpointing: of every block only its input is kept, and it runs twice a step.

    Gradients stay the same, dropout included, whose random state is put back. With
    `runtime.gradient_checkpointing` null it is done where the model is on a GPU, whose memory is
    what activations run out of.

    How it deviates from transformers' own switch: that acts in training mode only, which would turn
    on the dropout of models with one in passes that measure gradients in evaluation mode (SURE's
    saliencies). Here it acts wherever gradients are recorded, and nowhere else: generation with a
    cache is left alone.
    """
    wanted = runtime.gradient_checkpointing
    if wanted is None:
        wanted = device_of(runtime.accelerator).type != "cpu"
    name = blocks_name(model) if wanted else None
    blocks = [] if name is None else list(model.get_submodule(name).children())
    for block in blocks:
        block.forward = functools.partial(_forward, block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is seen again


def _forward(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
