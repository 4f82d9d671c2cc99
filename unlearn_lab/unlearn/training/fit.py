"""Runs Lightning's Trainer: resumable at any step, quiet, with all step metrics in one file."""

import logging
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch.utils.data import DataLoader

from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.batch import (
    Collate,
    PairedOrder,
    PairedTexts,
    Pairing,
    Sequences,
    SharedBatches,
)
from unlearn_lab.unlearn.optimizers.wrapped import WrappedOptimizer
from unlearn_lab.unlearn.ranks import is_first, num_ranks, rank
from unlearn_lab.unlearn.training.preempt import Signals
from unlearn_lab.unlearn.training.resume import Resumable, TrainingSchedule
from unlearn_lab.unlearn.training.step_log import StepLog
from unlearn_lab.unlearn.training.step_watch import StepWatch
from unlearn_lab.unlearn.training.steps import STEPS
from unlearn_lab.unlearn.training.stop import ShouldStop
from unlearn_lab.unlearn.training.strategy import trainer_options, unshard, what_ran
from unlearn_lab.unlearn.training.watcher import Watcher, current_watcher

CHECKPOINT = "last.ckpt"

_WARNINGS = (
    ".*does not have many workers.*",
    ".*treespec, LeafSpec.*is deprecated.*",
    ".*your dataloader is not resumable.*",  # `Resumable` skips the order ahead
    ".*`srun` command is available.*",
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Length of a training (exactly one of `steps` and `epochs`) and gradient clipping.

    Attributes:
        steps: optimizer steps.
        epochs: passes over the first split.
        clip_norm: maximum gradient norm; None for no clipping.
    """

    steps: int | None
    epochs: int | None
    clip_norm: float | None


@dataclass(frozen=True, kw_only=True)
class Batches:
    """How sequences are batched.

    Attributes:
        size: sequences of each split in a batch of all ranks.
        pairing: how splits are paired (see `PairedOrder`).
        seed: seed of the order and of dropout.
    """

    size: int
    pairing: Pairing
    seed: int


def fit(
    module: LightningModule,
    splits: Mapping[str, Sequences],
    *,
    pad_id: int,
    batches: Batches,
    budget: Budget,
    should_stop: ShouldStop,
    work: Path,
    runtime: Runtime,
) -> dict[str, object]:
    """Trains `module` in place; resumes from a checkpoint in `work`, if there is one.

    SIGUSR1, SIGUSR2 and SIGTERM take effect after the running step and a checkpoint (see `resume`).
    Raises `ValueError` for batches larger than the first split.

    Args:
        module: the module to train.
        splits: sequences by role; an epoch is one pass over the first.
        pad_id: the padding token.
        batches: how sequences are batched.
        budget: length of the training, and clipping.
        should_stop: called after each epoch; a returned reason ends the training.
        work: folder for the checkpoint and the step metrics.
        runtime: devices, strategy, checkpoint interval, progress bar.

    Returns:
        The facts: epochs, steps, why it stopped, batch size, optimizer, devices.
    """
    texts = PairedTexts(splits)
    if batches.size > len(texts):
        role = next(iter(splits))
        raise ValueError(
            f"trainer batch_size={batches.size}: the {role} split has only {len(texts)} sequences"
        )
    sizes = [len(sequences) for sequences in splits.values()]
    order = PairedOrder(sizes, batches.seed, batches.pairing)
    loader = _loader(texts, order, batches.size, pad_id)
    schedule = TrainingSchedule(
        order=order,
        batch_size=batches.size,
        seed=batches.seed,
        steps=budget.steps,
        should_stop=should_stop,
    )
    checkpoint = work / CHECKPOINT
    epochs = budget.epochs or math.ceil((budget.steps or 0) / len(loader))
    with Signals() as signals, warnings.catch_warnings():
        every = runtime.checkpoint_seconds
        resumable = Resumable(schedule, checkpoint, every_seconds=every, signals=signals)
        log, watcher = StepLog(work / STEPS), current_watcher() if is_first() else None
        # before `resumable`, which may end the process after a step
        watch = [] if watcher is None else [StepWatch(watcher, log, len(loader))]
        trainer = _trainer([*watch, resumable], log, epochs, budget.clip_norm, work, runtime)
        for known in _WARNINGS:
            warnings.filterwarnings("ignore", message=known)
        with _shown_to(watcher):
            trainer.fit(
                module,
                loader,
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
    stopped = resumable.conclude()
    unshard(module)
    for left in (checkpoint, checkpoint.with_suffix(".new")):
        left.unlink(missing_ok=True)
    return {
        "epochs": resumable.epochs,
        "steps": trainer.global_step,
        "stopped": stopped,
        "batch": batches.size,
        **_update_facts(trainer.optimizers[0]),
        **what_ran(runtime),
    }


@contextmanager
def _shown_to(watcher: Watcher | None) -> Iterator[None]:
    """Tells the watcher when the training begins, and whether it ends complete."""
    if watcher is None:
        yield
        return
    watcher.begin()
    complete = False
    try:
        yield
        complete = True
    finally:
        watcher.end(complete=complete)


def _loader(texts: PairedTexts, order: PairedOrder, size: int, pad_id: int) -> DataLoader[Any]:
    """Loads this rank's share of every batch."""
    return DataLoader(
        texts,
        batch_sampler=SharedBatches(order, size, rank=rank(), num_ranks=num_ranks()),
        collate_fn=Collate(pad_id, texts.roles),
        generator=torch.Generator(),  # else a resume would shift dropout's draws
    )


def _update_facts(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """Returns the facts on the optimizer, its state and the number of optimized weights."""
    optimized = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        "optimizer": optimizer_name(optimizer),
        "optimizer_state": _state_dtypes(optimizer),
        "trained_parameters": sum(parameter.numel() for parameter in optimized),
    }


def optimizer_name(optimizer: torch.optim.Optimizer) -> str:
    """Returns the class name of the optimizer, or of the one that it wraps."""
    wrapped = isinstance(optimizer, WrappedOptimizer)
    return optimizer.inner_name if wrapped else type(optimizer).__name__


def _state_dtypes(optimizer: torch.optim.Optimizer) -> str:
    """Returns the actual dtypes of the optimizer's per-weight state, such as `float32`."""
    states = [value for state in optimizer.state.values() for value in state.values()]
    found = {
        str(s.dtype).removeprefix("torch.")
        for s in states
        if isinstance(s, torch.Tensor) and s.dim() > 0
    }
    return "+".join(sorted(found)) or "none"


def _trainer(
    callbacks: Sequence[Callback],
    log: StepLog,
    epochs: int,
    clip_norm: float | None,
    work: Path,
    runtime: Runtime,
) -> Trainer:
    """Builds a Trainer limited by epochs: with `max_steps`, Lightning 2.6 resumes at other batches.

    Slurm is hidden from Lightning (`trainer_options`), which would requeue the job on its own, or
    reject a number of tasks that is unrelated to this training.
    """
    verbose = logging.getLogger().isEnabledFor(logging.DEBUG)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.ERROR)
    progress = sys.stderr.isatty() if runtime.progress is None else runtime.progress
    bar = [TQDMProgressBar(refresh_rate=10)] if progress else []
    return Trainer(
        accelerator=runtime.accelerator,
        default_root_dir=work,
        max_epochs=epochs,
        gradient_clip_val=clip_norm,
        logger=log if is_first() else False,
        callbacks=[*callbacks, *bar],
        enable_progress_bar=progress,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **trainer_options(runtime),
    )
