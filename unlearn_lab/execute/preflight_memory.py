"""Checks, before training, that each training fits into memory; says what would make it fit."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unlearn_lab.config.build import Refused
from unlearn_lab.config.once import OncePerProcess
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.data.training import training_sequences
from unlearn_lab.data.typed import PretrainedConfig
from unlearn_lab.execute.parts import Parts
from unlearn_lab.graph.cache import Cache
from unlearn_lab.graph.stage import Stage
from unlearn_lab.models.device import device_of
from unlearn_lab.models.linears import choose_trainable
from unlearn_lab.models.load import load_tokenizer
from unlearn_lab.plan.job_graph import Plan
from unlearn_lab.unlearn.optimizers.adamw_8bit import AdamW8bit
from unlearn_lab.unlearn.optimizers.sure import SURE
from unlearn_lab.unlearn.optimizers.update import FullUpdate, UpdateRule
from unlearn_lab.unlearn.training.forecast import (
    TrainingShape,
    available_bytes,
    bound_bytes,
    peak_bytes,
)
from unlearn_lab.unlearn.training.settings import FineTuning, UnlearningTraining

_log = logging.getLogger(__name__)
_log.addFilter(OncePerProcess())
RESERVE = 0.9
"""Share of the available memory that a training may need: allocators leave gaps."""


@dataclass(frozen=True)
class Measured:
    """Number of sequences of a split, and tokens in the longest."""

    count: int
    longest: int


_measured: dict[tuple[object, ...], Measured] = {}
"""Cached: the jobs of a sweep need the same ones."""


def measure(
    cache: Cache, corpus: Stage, base: Stage, split: str, settings: FineTuning | UnlearningTraining
) -> Measured:
    """Counts the sequences that a split is cut into.

    Args:
        cache: builds corpus and base model.
        corpus: the stage of the corpus.
        base: the stage of the model whose tokenizer cuts it.
        split: `forget` or `retain`.
        settings: length of sequences and chunking.
    """
    key = (corpus.key, base.key, split, settings.max_length, settings.chunking)
    if key not in _measured:
        read = read_corpus(cache.get_or_build(corpus))
        tokenizer = load_tokenizer(cache.get_or_build(base).path)
        sequences = training_sequences(
            read, [split], tokenizer, settings.max_length, settings.chunking
        )
        longest = max(map(len, sequences), default=0)
        _measured[key] = Measured(count=len(sequences), longest=longest)
    return _measured[key]


def require_memory(
    parts: Parts, plan: Plan, cache: Cache, config: PretrainedConfig, runtime: Runtime
) -> None:
    """Raises `Refused` for a training that is to be built here and needs more memory than is free.

    Not forecast are trainings that certainly fit, those of adapters (peft cannot be built without
    data), of several processes and on other machines (`runtime.auto_arithmetic`), and, with a
    warning, those of architectures that cannot run without data.
    """
    available = available_bytes(runtime.accelerator)
    if available is None or runtime.devices > 1 or runtime.auto_arithmetic is not None:
        return
    for group, limit, longest in _trainings(parts, plan, cache):
        if bound_bytes(config, limit) < RESERVE * available:
            continue
        shape = dataclasses.replace(limit, length=longest())
        if bound_bytes(config, shape) < RESERVE * available:
            continue
        try:
            needed = peak_bytes(config, shape, runtime)
            _log.info("%s: the training needs about %s of memory", group, format_gb(needed))
            if needed > RESERVE * available:
                raise Refused(
                    f"{group}: its training needs about {format_gb(needed)} of memory, and "
                    f"{format_gb(available)} are free; "
                    f"{_advice(group, config, shape, runtime, RESERVE * available)}"
                )
        except RuntimeError as error:  # an operation that needs data, or that knows no shapes
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            _log.warning("%s: the memory of its training cannot be forecast: %s", group, reason)


def _trainings(
    parts: Parts, plan: Plan, cache: Cache
) -> Iterator[tuple[str, TrainingShape, Callable[[], int]]]:
    """Yields the trainings that are not in the cache.

    For each: the group of its settings, its shape if the longest sequence reached the limit
    `max_length`, and a function that measures the longest sequence.
    """
    finetune, inputs = parts.finetune.value, plan.record.inputs
    built = [inputs[name] for name in ("target", "retrain") if name in inputs]

    def longest(
        corpora: Sequence[Stage], splits: Sequence[str], settings: FineTuning | UnlearningTraining
    ) -> int:
        return max(
            measure(cache, corpus, plan.base, split, settings).longest
            for corpus in corpora
            for split in splits
        )

    if plan.finetunes and not all(cache.has(stage) for stage in built):
        yield (
            "finetune",
            finetuning_shape(finetune, finetune.max_length),
            lambda: longest([plan.corpora.whole], ["forget", "retain"], finetune),
        )
    training = parts.training
    if training is None or cache.has(plan.unlearn) or training.trainer.adapter is not None:
        return
    trainer, roles = training.trainer, training.method.roles
    compared = {role: role in training.method.distribution_of for role in roles}
    shape = unlearning_shape(trainer, training.optimizer, compared, trainer.max_length)
    if training.watch is not None:
        arithmetic = inputs["unlearned.full"].params["arithmetic"]
        shape = dataclasses.replace(shape, scored=arithmetic)
    yield (
        "trainer",
        shape,
        lambda: longest(plan.corpora.steps, roles, trainer),
    )


def finetuning_shape(settings: FineTuning, length: int) -> TrainingShape:
    """Returns the shape of a fine-tuning whose longest sequence has `length` tokens."""
    return TrainingShape(
        weights=settings.weights,
        arithmetic=settings.arithmetic,
        roles={"learn": False},
        sequences=settings.batch_size,
        length=length,
        choose=lambda model: None,
        optimizer=torch.optim.AdamW,
    )


def unlearning_shape(
    settings: UnlearningTraining, rule: UpdateRule, roles: Mapping[str, bool], length: int
) -> TrainingShape:
    """Returns the shape of an unlearning without an adapter.

    An update rule that is neither a torch optimizer nor SURE counts as AdamW on all weights.

    Args:
        settings: training settings of unlearning.
        rule: the update rule.
        roles: for each split in a batch, whether its logits are compared with the reference's.
        length: tokens in the longest sequence.
    """
    given: dict[str, Any] = {"optimizer": torch.optim.AdamW}
    if isinstance(rule, FullUpdate | AdamW8bit):
        given = {"optimizer": rule.make}
    elif isinstance(rule, SURE):
        given = {"optimizer": rule.inner, "share": 1 - rule.percentile / 100}
    return TrainingShape(
        weights=settings.weights,
        arithmetic=settings.arithmetic,
        roles=roles,
        sequences=settings.batch_size,
        length=length,
        choose=functools.partial(choose_trainable, trainable=settings.trainable),
        stochastic=settings.rounding == "stochastic",
        **given,
    )


def _advice(
    group: str, config: PretrainedConfig, shape: TrainingShape, runtime: Runtime, room: float
) -> str:
    """Returns the first settings, added one after the other, with which the training fits."""
    changes: list[tuple[str, Runtime, TrainingShape]] = []
    eight_bit = AdamW8bit(lr=1e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, paged=False).make
    if shape.scored is not None:
        shape = dataclasses.replace(shape, scored=None)
        changes.append(("trainer.watch.every_epochs=null", runtime, shape))
    if shape.sequences > 1 and runtime.micro_batch != 1:
        runtime = dataclasses.replace(runtime, micro_batch=1)
        changes.append(("runtime.micro_batch=1", runtime, shape))
    if runtime.gradient_checkpointing is not True:
        runtime = dataclasses.replace(runtime, gradient_checkpointing=True)
        changes.append(("runtime.gradient_checkpointing=true", runtime, shape))
    if group == "trainer" and shape.share is None and device_of(runtime.accelerator).type == "cuda":
        shape = dataclasses.replace(shape, optimizer=eight_bit)
        changes.append(("optimizer=adamw_8bit", runtime, shape))
    if shape.weights == "fp32":
        shape = dataclasses.replace(shape, weights="bf16")
        changes.append((f"{group}.weights=bf16", runtime, shape))
    settings: list[str] = []
    needed = 0.0
    for setting, changed, smaller in changes:
        settings.append(setting)
        needed = peak_bytes(config, smaller, changed)
        if needed <= room:
            return f"with {' '.join(settings)} it needs {format_gb(needed)}"
    tried = f" (with {' '.join(settings)} still {format_gb(needed)})" if settings else ""
    adapter = ", trainer/adapter=lora" if group == "trainer" else ""
    return f"take a smaller model{adapter} or a machine with more memory{tried}"


def format_gb(size: int | float) -> str:
    """Formats bytes in gigabytes."""
    return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB"
