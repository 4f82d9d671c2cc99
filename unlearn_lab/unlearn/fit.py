"""Runs Lightning's Trainer: resumable at epoch ends, quiet, every step's figures in one file."""

import json
import logging
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import DataLoader

from unlearn_lab.data.batch import (
    Collate,
    PairedOrder,
    PairedTexts,
    Pairing,
    Sequences,
    SharedBatches,
)
from unlearn_lab.settings import Runtime
from unlearn_lab.unlearn.ranks import first_decides, is_first, num_ranks, rank
from unlearn_lab.unlearn.sharding import unshard
from unlearn_lab.unlearn.stop import ShouldStop
from unlearn_lab.unlearn.strategy import trainer_options, what_ran
from unlearn_lab.unlearn.wrapped import WrappedOptimizer

STEPS = "steps.jsonl"
CHECKPOINT = "last.ckpt"
_KNOWN_WARNINGS = (
    ".*does not have many workers.*",
    ".*treespec, LeafSpec.*is deprecated.*",  # of Lightning 2.6 itself
    ".*`srun` command is available.*",
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to train (`steps` or `epochs`, exactly one) and the norm to clip gradients to."""

    steps: int | None
    epochs: int | None
    clip_norm: float | None


@dataclass(frozen=True, kw_only=True)
class Batches:
    """How sequences are dealt: `size` of each split at a time, paired as `PairedOrder` does."""

    size: int
    pairing: Pairing
    seed: int


class StepLog(Logger):
    """Appends a JSON line per call of `log_metrics`; a later line of a step adds to the earlier."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        if path.exists() and not path.read_text(encoding="utf-8").endswith("\n"):
            path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")

    @property
    def name(self) -> str:
        """Lightning wants one."""
        return "steps"

    @property
    def version(self) -> str:
        """Lightning wants one."""
        return ""

    def log_hyperparams(self, *args: object, **kwargs: object) -> None:
        """Hyper-parameters stand in the stage's parameters."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends the figures of a step."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **metrics}) + "\n")


def read_steps(folder: Path) -> list[dict[str, int | float]]:
    """One row per step, in order; a step that was repeated after a resume counts once."""
    path, rows = folder / STEPS, dict[int, dict[str, int | float]]()
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.endswith("}"):  # torn by a crash; the step was repeated afterwards
                continue
            row = json.loads(line)
            rows[row["step"]] = rows.get(row["step"], {}) | row
    return [rows[step] for step in sorted(rows)]


class _EpochEnd(Callback):
    """Asks the stop rule, keeps a checkpoint to resume from, and seeds the epoch."""

    def __init__(
        self, folder: Path, should_stop: ShouldStop, every_seconds: float, seed: int
    ) -> None:
        self._path = folder / CHECKPOINT
        self._should_stop = should_stop
        self._every = every_seconds
        self._seed = seed
        self._saved = time.monotonic()
        self.reason: str | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds dropout and the like, which no two ranks draw alike."""
        torch.manual_seed((self._seed << 20) + (rank() << 16) + trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decides whether this was the last epoch, for all ranks alike."""
        due = time.monotonic() - self._saved > self._every
        self.reason, due = first_decides((self._should_stop(trainer.current_epoch + 1), due))
        if self.reason is not None:
            trainer.should_stop = True
        elif due:
            fresh = self._path.with_suffix(".new")
            trainer.save_checkpoint(fresh)
            if is_first():
                fresh.rename(self._path)
            self._saved = time.monotonic()


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
    """Trains `module` in place and returns what ran: epochs, steps, why it stopped.

    `splits` are sequences by role; the first is passed over once an epoch. A checkpoint left in
    `work` is resumed from.
    """
    texts = PairedTexts(splits)
    if batches.size > len(texts):
        role = next(iter(splits))
        raise ValueError(
            f"trainer batch_size={batches.size}: the {role} split has only {len(texts)} sequences"
        )
    sizes = [len(sequences) for sequences in splits.values()]
    order = PairedOrder(sizes, batches.seed, batches.pairing)
    loader = DataLoader(
        texts,
        batch_sampler=SharedBatches(order, batches.size, rank=rank(), num_ranks=num_ranks()),
        collate_fn=Collate(pad_id, texts.roles),
        generator=torch.Generator(),  # else it draws from dropout's, at other times after a resume
    )
    end = _EpochEnd(work, should_stop, runtime.checkpoint_seconds, batches.seed)
    checkpoint = work / CHECKPOINT
    trainer = _trainer(end, budget, work, runtime)
    with warnings.catch_warnings():
        for known in _KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=known)
        trainer.fit(
            module, loader, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True
        )
    unshard(module)
    for left in (checkpoint, checkpoint.with_suffix(".new")):
        left.unlink(missing_ok=True)
    return {
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "stopped": end.reason or "end of the budget",
        "batch": batches.size,
        "optimizer": optimizer_name(trainer.optimizers[0]),
        "optimizer_state": _state_dtypes(trainer.optimizers[0]),
        "trained_parameters": sum(
            p.numel() for group in trainer.optimizers[0].param_groups for p in group["params"]
        ),
        **what_ran(runtime),
    }


def optimizer_name(optimizer: torch.optim.Optimizer) -> str:
    """The class that does the work, without what stands in front of it."""
    wrapped = isinstance(optimizer, WrappedOptimizer)
    return optimizer.inner_name if wrapped else type(optimizer).__name__


def _state_dtypes(optimizer: torch.optim.Optimizer) -> str:
    """The dtypes in which the optimizer keeps its per-weight state, as it really is."""
    states = [value for state in optimizer.state.values() for value in state.values()]
    found = {
        str(s.dtype).removeprefix("torch.")
        for s in states
        if isinstance(s, torch.Tensor) and s.dim() > 0
    }
    return "+".join(sorted(found)) or "none"


def _trainer(end: _EpochEnd, budget: Budget, work: Path, runtime: Runtime) -> Trainer:
    verbose = logging.getLogger().isEnabledFor(logging.DEBUG)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.ERROR)
    progress = sys.stderr.isatty() if runtime.progress is None else runtime.progress
    bar = [TQDMProgressBar(refresh_rate=10)] if progress else []
    return Trainer(
        accelerator=runtime.accelerator,
        max_steps=budget.steps or -1,
        max_epochs=budget.epochs or -1,
        gradient_clip_val=budget.clip_norm,
        logger=StepLog(work / STEPS) if is_first() else False,
        callbacks=[end, *bar],
        enable_progress_bar=progress,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **trainer_options(runtime),
    )
