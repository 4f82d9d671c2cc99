"""Communicates between the ranks of one training; a single process exchanges nothing.

Each rank sees its share of a batch, and gradients are averaged over ranks. Losses take every mean
with `token_mean` or `sequence_mean`, so that this average is the gradient of the whole batch.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.batch import Batch, BatchSize, Tokens, split
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


def token_mean(values: Float[Tensor, " tokens"], tokens: Tokens) -> Float[Tensor, ""]:
    """Returns the contribution to the mean of per-token values over a whole batch.

    The batch may be divided among ranks, and each rank's share into parts (`runtime.micro_batch`):
    (sum of `values`) * (world size) / (predicted tokens on all ranks). Averaged over ranks and
    summed over parts, value and gradient are those of the whole batch, even for uneven or empty
    shares.

    Args:
        values: one value per predicted token, in any order.
        tokens: the batch, or part of one, that they belong to.
    """
    return _contribution(values, tokens, tokens.size.tokens)


def sequence_mean(values: Float[Tensor, " items"], tokens: Tokens) -> Float[Tensor, ""]:
    """As `token_mean`, with the number of sequences as the divisor.

    `values` are one per sequence, or one per token, which are then summed over each sequence.
    """
    return _contribution(values, tokens, tokens.size.sequences)


def _contribution(values: Tensor, tokens: Tokens, count: int) -> Tensor:
    if num_ranks() == 1 and len(values) == count:
        return values.mean()
    if num_ranks() > 1 and tokens.whole is None:
        count = _total([count])[0]
    return values.sum() * num_ranks() / count


def parts(batch: Batch, micro_batch: int | None) -> list[Batch]:
    """Splits this rank's share of a batch into parts; None: no split.

    Each part knows the size of the batch on all ranks, so that means exchange nothing and ranks
    may have different numbers of parts.
    """
    return [batch] if micro_batch is None else split(_on_all_ranks(batch), micro_batch)


def _on_all_ranks(batch: Batch) -> Batch:
    found = iter(_total([number for tokens in batch.values() for number in tokens.size]))
    return {
        role: tokens._replace(whole=BatchSize(sequences=next(found), tokens=next(found)))
        for role, tokens in batch.items()
    }


def _total(numbers: list[int]) -> list[int]:
    """Returns the sums over ranks."""
    if num_ranks() == 1:
        return numbers
    total = torch.tensor(numbers)
    distributed.all_reduce(total)
    return total.tolist()


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
