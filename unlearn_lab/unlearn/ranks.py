"""What the processes of one training do together; a single process exchanges nothing.

Gradients are averaged over processes (ranks), each of which sees its share of a batch. So that this
average is the gradient of the whole batch, every mean of a loss is taken by `batch_mean`.
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
    """Joins the processes that torchrun started, each on a device of its own; none for a single."""
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
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """This process's number, from 0."""
    return distributed.get_rank() if _together() else 0


def is_first() -> bool:
    """Whether this process writes files for all."""
    return rank() == 0


def batch_mean(values: Float[Tensor, "*items"], num_items: int | None = None) -> Float[Tensor, ""]:
    """The mean of `values` over a batch that is spread over ranks, in this rank's part.

    It is the sum here, over the number of values on all ranks, times the number of ranks: averaged
    over ranks, value and gradient are those of the whole batch, however uneven the shares are. A
    share may be empty. With `num_items` the sum is divided by the total of that number instead.
    """
    if num_ranks() == 1:
        return values.mean() if num_items is None else values.sum() / num_items
    count = torch.tensor(values.numel() if num_items is None else num_items, device=values.device)
    distributed.all_reduce(count)
    return values.sum() * num_ranks() / count


def averaged(values: Mapping[str, float]) -> dict[str, float]:
    """Each figure's mean over ranks; the names must be the same on all."""
    if num_ranks() == 1:
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    distributed.all_reduce(total)
    return dict(zip(values, (total / num_ranks()).tolist(), strict=True))


def average_gradients(parameters: Mapping[str, Tensor]) -> None:
    """Replaces every gradient by its mean over ranks."""
    for parameter in parameters.values():
        if num_ranks() > 1 and parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad.div_(num_ranks())


def first_decides(value: Decision) -> Decision:
    """The first rank's value, on all ranks."""
    if num_ranks() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def of_all_ranks(value: Decision) -> list[Decision]:
    """Every rank's value, in the order of ranks, on all of them."""
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()
    distributed.all_gather_object(values, value)
    return values


def as_on_first(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The first rank's tensors, on all ranks: computed on each, they may differ by a bit."""
    if num_ranks() > 1:
        for value in values.values():
            distributed.broadcast(value, src=0)
    return values


def require_equal(values: Mapping[str, Tensor]) -> None:
    """Raises `ValueError` on every rank when a tensor has other bits on one than on the first."""
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
    """Goes on when all ranks are here."""
    if num_ranks() > 1:
        distributed.barrier()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
