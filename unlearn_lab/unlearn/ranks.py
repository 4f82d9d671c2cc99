"""Communicates between the ranks of one training; a single process exchanges nothing.

Each rank sees its share of a batch, and gradients are averaged over ranks. Losses take every mean
with `batch_mean`, so that this average is the gradient of the whole batch.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.device import device_of

Decision = TypeVar("Decision")


@contextmanager
def joined(runtime: Runtime) -> Iterator[None]:
    """Sets torch's thread count and, with several devices, joins torchrun's process group.

    On CUDA, each rank uses device `LOCAL_RANK`, with NCCL for CUDA tensors and gloo for CPU
    tensors. The group is destroyed on a normal exit.
    """
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    if runtime.devices == 1:
        yield
        return
    backend = "gloo"
    if device_of(runtime.accelerator).type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend)
    yield
    distributed.destroy_process_group()


def num_ranks() -> int:
    """World size; 1 without a process group."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """This process' rank, from 0; 0 without a process group."""
    return distributed.get_rank() if _together() else 0


def is_first() -> bool:
    """Whether this is rank 0, which writes the files of the training."""
    return rank() == 0


def batch_mean(values: Float[Tensor, "*items"], num_items: int | None = None) -> Float[Tensor, ""]:
    """Returns this rank's contribution to the mean of `values` over a batch split across ranks.

    That is (local sum) * (world size) / (number of values on all ranks): averaged over ranks, value
    and gradient are those of the whole batch, even for uneven or empty shares. With `num_items`,
    the divisor is the sum of `num_items` over ranks instead of the number of values.
    """
    if num_ranks() == 1:
        return values.mean() if num_items is None else values.sum() / num_items
    count = torch.tensor(values.numel() if num_items is None else num_items, device=values.device)
    distributed.all_reduce(count)
    return values.sum() * num_ranks() / count


def averaged(values: Mapping[str, float]) -> dict[str, float]:
    """Averages each value over ranks; all ranks must pass the same names in the same order."""
    if num_ranks() == 1:
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    distributed.all_reduce(total)
    return dict(zip(values, (total / num_ranks()).tolist(), strict=True))


def average_gradients(parameters: Mapping[str, Tensor]) -> None:
    """Averages every gradient over ranks, in place."""
    for parameter in parameters.values():
        if num_ranks() > 1 and parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad.div_(num_ranks())


def first_decides(value: Decision) -> Decision:
    """Returns rank 0's value on every rank."""
    if num_ranks() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def of_all_ranks(value: Decision) -> list[Decision]:
    """Returns the values of all ranks, in rank order, on every rank."""
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()
    distributed.all_gather_object(values, value)
    return values


def as_on_first(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Overwrites the tensors with rank 0's, in place: each rank's own may differ in a bit."""
    if num_ranks() > 1:
        for value in values.values():
            distributed.broadcast(value, src=0)
    return values


def require_equal(values: Mapping[str, Tensor]) -> None:
    """Raises `ValueError` on every rank if a tensor of any rank differs from rank 0's."""
    if num_ranks() == 1:
        return
    for name, value in values.items():
        first = value.detach().clone()
        distributed.broadcast(first, src=0)
        differing = torch.tensor(int(not torch.equal(first, value.detach())))
        distributed.all_reduce(differing)
        if differing:
            raise ValueError(
                f"{name} differs between the processes of one training ({int(differing)} of "
                f"{num_ranks()} from the first): their replicas must stay equal. Train with "
                "runtime.devices=1"
            )


def wait() -> None:
    """Blocks until all ranks have arrived (a barrier)."""
    if num_ranks() > 1:
        distributed.barrier()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
