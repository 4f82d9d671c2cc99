"""Forecasts the peak memory of a training by taking its step on tensors without data."""

import copy
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.typed import PretrainedConfig, PreTrainedModel
from unlearn_lab.models.arithmetic import Arithmetic, casts_once, training_arithmetic
from unlearn_lab.models.causal_lm import Head, by_chunks
from unlearn_lab.models.device import device_of
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.models.load import DTYPES
from unlearn_lab.models.recompute import recomputed_blocks
from unlearn_lab.unlearn.gradients import summed_gradients, with_gradients
from unlearn_lab.unlearn.objectives.likelihood import (
    label_is_likeliest,
    token_kl,
    token_log_likelihood,
)

_SCRATCH = 2 * 10**8
"""Bytes of kernels and their buffers, which a CPU loads with the first step."""
_MANY = 4096
"""Elements of the parameter on which an optimizer's state is measured."""


@dataclass(frozen=True, kw_only=True)
class TrainingShape:
    """A training, as far as its memory depends on it.

    Attributes:
        weights: dtype of the weights, `fp32` or `bf16`.
        arithmetic: dtype of the products.
        roles: for each split in a batch, whether its logits are compared with the reference's.
        sequences: sequences of each split in a batch.
        length: tokens in the longest sequence.
        choose: freezes the weights that are not trained.
        optimizer: builds the optimizer, whose state is measured on a small parameter.
        share: share of the trained weights that the optimizer updates on copies; None if it updates
            the weights themselves.
        stochastic: whether the copies are float32.
        scored: dtype of the products of a copy that is scored between steps; None: there is none.
    """

    weights: str
    arithmetic: Arithmetic
    roles: Mapping[str, bool]
    sequences: int
    length: int
    choose: Callable[[PreTrainedModel], object]
    optimizer: Callable[[list[Parameter]], Optimizer]
    share: float | None = None
    stochastic: bool = False
    scored: Arithmetic | None = None


def peak_bytes(config: PretrainedConfig, shape: TrainingShape, runtime: Runtime) -> int:
    """Returns the peak memory of a training step, without that of the libraries, in bytes.

    Takes the step of the second batch: forward passes of all splits, losses by chunks and the
    backward pass, on tensors that have shapes but no data, and adds the optimizer's state. Counts
    what torch allocates at a time, temporaries included; not an allocator's gaps.
    """
    live = _Live()
    with FakeTensorMode(), device_of(runtime.accelerator):
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[shape.weights]).train()
        shape.choose(model)
        reference = _reference_head(model, shape)
        for parameter in model.parameters():
            live.add(parameter)
        trained = trained_parameters(model)
        with (
            live,
            training_arithmetic(model, shape.arithmetic),
            recomputed_blocks(model, runtime),
        ):
            _step(model, reference, shape, runtime.micro_batch)
        gradients = sum(p.numel() * p.element_size() for p in trained.values())
        largest = max(p.numel() * p.element_size() for p in trained.values())
        state = sum(
            _state_bytes(shape, parameter.numel(), parameter.dtype, model.device)
            for parameter in trained.values()
        )
    # torch's optimizers update all weights of a GPU at once, and a CPU's one by one
    temporary = gradients if model.device.type == "cuda" else 2 * largest
    between = max(temporary, _copy_bytes(model, shape))
    scratch = _SCRATCH if model.device.type == "cpu" else 0
    return scratch + state + max(live.peak, live.weights + gradients + between)


def _copy_bytes(model: PreTrainedModel, shape: TrainingShape) -> int:
    """Returns the bytes of the copy of a model that is scored between steps."""
    if shape.scored is None:
        return 0
    upcast = torch.float32.itemsize if shape.scored == "fp32" else 0
    return sum(p.numel() * max(p.element_size(), upcast) for p in model.parameters())


def bound_bytes(config: PretrainedConfig, shape: TrainingShape) -> int:
    """Returns a bound that no usual architecture reaches, without running anything.

    For each token, 60 times the hidden and intermediate sizes per layer, and 24 bytes per logit;
    28 bytes per weight.
    """
    text = config.get_text_config()
    hidden = getattr(text, "hidden_size", 0)
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    layers = getattr(text, "num_hidden_layers", 0)
    tokens = len(shape.roles) * shape.sequences * shape.length
    heads = getattr(text, "num_attention_heads", 0)
    scores = 12 * heads * shape.length  # of attention without a fused kernel
    weights = layers * (8 * hidden**2 + 3 * hidden * inner) + 2 * hidden * text.vocab_size
    activations = tokens * layers * (60 * (hidden + inner) + scores)
    return 28 * weights + activations + 24 * tokens * text.vocab_size


def available_bytes(accelerator: str) -> int | None:
    """Returns the memory that this process can still get; None where the system does not say.

    Of a GPU what is free; else what Linux calls available, within the control group's limit.
    """
    device = device_of(accelerator)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    found = [value for value in (_free_of_machine(), _free_of_group()) if value is not None]
    return min(found, default=None)


def _free_of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_of_group() -> int | None:
    """Returns what the process' control group leaves (version 2; as a container sees its own)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
        used = int((folder / "memory.current").read_text(encoding="utf-8"))
        stat = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    freed = {name: int(size) for name, size in (line.split() for line in stat)}
    return int(limit) - used + freed.get("inactive_file", 0) + freed.get("active_file", 0)


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors that exist at a time.

    Attributes:
        now: bytes that exist.
        peak: the most that existed.
        weights: bytes that existed before the mode was entered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.weights = 0
        self._known: dict[int, int] = {}

    def __enter__(self) -> Any:
        self.weights = self.now
        return super().__enter__()

    def add(self, tensor: Tensor) -> None:
        """Counts a tensor's memory until it is freed; views of one memory count once."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self._known.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and counts what it returns."""
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor):
                self.add(one)
        return result


def _step(
    model: PreTrainedModel, reference: Head | None, shape: TrainingShape, micro_batch: int | None
) -> None:
    """Takes the forward and backward passes of a batch, or of its first part."""
    sequences = min(shape.sequences, micro_batch or shape.sequences)

    def loss() -> Tensor:
        return torch.stack(
            [
                _loss(model, reference if compared else None, shape, sequences)
                for compared in shape.roles.values()
            ]
        ).sum()

    if sequences == shape.sequences:
        loss().backward()
        return
    parameters = trained_parameters(model)
    sums, _ = summed_gradients(parameters, (loss() for _ in range(1)))
    held = {parameter: sums.pop(name) for name, parameter in parameters.items()}
    with_gradients(torch.zeros(()), held).backward()


def _reference_head(model: PreTrainedModel, shape: TrainingShape) -> Head | None:
    """Returns the head of the reference, whose weights are copied if they are trained.

    The copy becomes a part of the model, so that it is computed with in the same arithmetic.
    """
    if not any(shape.roles.values()):
        return None
    head = Head(model)
    if any(parameter.requires_grad for parameter in head.parameters()):
        twin = copy.copy(head.linear)  # tensors without data have no deep copy
        twin._parameters = {
            name: None if one is None else Parameter(torch.empty_like(one), requires_grad=False)
            for name, one in head.linear._parameters.items()
        }
        twin._modules = dict(head.linear._modules)
        model.add_module("reference_head", twin)
        head.linear = twin
    return head


def _loss(
    model: PreTrainedModel, reference: Head | None, shape: TrainingShape, sequences: int
) -> Tensor:
    """Returns the loss of one split: of its labels, or against the reference's logits."""
    ids = torch.zeros(sequences, shape.length, dtype=torch.long)
    output = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    hidden = output.last_hidden_state[:, :-1].flatten(0, 1)
    labels, head = torch.zeros(len(hidden), dtype=torch.long), Head(model)

    def score(hidden: Tensor, before: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        logits = head(hidden)
        if reference is None:
            values = token_log_likelihood(logits, labels)
        else:
            with casts_once(model, shape.arithmetic):
                expected = reference(before)
            values = token_kl(expected, logits)
        return values, label_is_likeliest(logits, labels)

    before = hidden.detach() if reference is None else hidden.detach().clone()
    vocabulary = model.config.get_text_config().vocab_size
    values, _ = by_chunks(score, [hidden, before, labels], vocabulary)
    return values.mean()


def _state_bytes(shape: TrainingShape, count: int, dtype: torch.dtype, device: torch.device) -> int:
    """Returns the bytes of the optimizer's state and copies for a parameter of `count` weights."""
    kept = torch.float32 if shape.stochastic else dtype
    per_weight = _state_per_weight(shape.optimizer, kept, device)
    if shape.share is None and not shape.stochastic:
        return int(per_weight * count)
    share = 1.0 if shape.share is None else shape.share
    return int((per_weight + 2 * kept.itemsize) * share * count)


def _state_per_weight(
    make: Callable[[list[Parameter]], Optimizer], dtype: torch.dtype, device: torch.device
) -> float:
    """Returns the bytes of an optimizer's state per weight, after a step on a small parameter."""
    with unset_fake_temporarily():
        parameter = Parameter(torch.zeros(_MANY, dtype=dtype, device=device))
        parameter.grad = torch.ones_like(parameter)
        optimizer = make([parameter])
        optimizer.step()
        held = [value for state in optimizer.state.values() for value in state.values()]
        tensors = [one for one in held if isinstance(one, Tensor) and one.dim() > 0]
        return sum(one.numel() * one.element_size() for one in tensors) / _MANY
