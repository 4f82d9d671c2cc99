"""Decides whether activations inside the blocks are stored for the backward pass or recomputed."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.device import device_of
from unlearn_lab.models.linears import blocks_name


@contextmanager
def recomputed_blocks(model: PreTrainedModel, runtime: Runtime) -> Iterator[None]:
    """Gradient checkpointing: stores only the input of every block and runs each twice per step.

    Gradients are unchanged; dropout is replayed with the same random state. A null
    `runtime.gradient_checkpointing` enables it on any accelerator, where memory is scarce.

    Deviates from transformers' own option, which is active in training mode only: passes that
    measure gradients in evaluation mode (SURE's saliencies) would then need training mode, and so
    dropout. Here it is active whenever gradients are recorded, and not otherwise: generation with a
    cache is unaffected.
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
            del block.forward  # uncovers the class's method


def _forward(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
