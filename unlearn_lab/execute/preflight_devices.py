"""Checks, before training, that several processes can build what is configured."""

import torch

from unlearn_lab.config.build import Refused
from unlearn_lab.config.settings import Runtime
from unlearn_lab.evaluate.watch import Watch
from unlearn_lab.models.device import device_of
from unlearn_lab.unlearn.optimizers.adamw_8bit import AdamW8bit
from unlearn_lab.unlearn.optimizers.sure_released import SUREReleased
from unlearn_lab.unlearn.optimizers.update import FullUpdate, UpdateRule
from unlearn_lab.unlearn.training.settings import UnlearningTraining
from unlearn_lab.unlearn.training.stop import FixedEpochs

STRATEGIES = ("ddp", "fsdp")


def require_devices(runtime: Runtime) -> None:
    """Raises `Refused` for an unknown strategy or unavailable devices."""
    if runtime.strategy not in STRATEGIES:
        raise Refused(
            f"runtime.strategy={runtime.strategy}: must be one of {', '.join(STRATEGIES)}"
        )
    if runtime.devices == 1:
        return
    kind = device_of(runtime.accelerator).type
    if kind not in ("cpu", "cuda"):
        raise Refused(
            f"runtime.devices={runtime.devices}: several processes need NVIDIA or AMD GPUs, or "
            f"runtime.accelerator=cpu; on {kind} use runtime.devices=1"
        )
    if kind == "cuda" and runtime.devices > torch.cuda.device_count():
        raise Refused(
            f"runtime.devices={runtime.devices}: this process sees {torch.cuda.device_count()} "
            "GPUs; use at most that"
        )


def require_shardable(
    runtime: Runtime, update: UpdateRule, training: UnlearningTraining, watch: Watch | None
) -> None:
    """Raises `Refused` for parts that need whole weights, where FSDP shards them.

    Args:
        runtime: `devices` and `strategy` decide whether weights are sharded.
        update: the update rule of unlearning.
        training: training settings of unlearning.
        watch: when the model is scored while it unlearns.
    """
    if runtime.devices == 1 or runtime.strategy != "fsdp":
        return
    needs_whole = {
        f"optimizer={type(update).__name__}": not isinstance(update, FullUpdate),
        f"trainer.rounding={training.rounding}": training.rounding != "nearest",
        f"trainer.adapter={type(training.adapter).__name__}": training.adapter is not None,
        f"trainer.stop={type(training.stop).__name__}": not isinstance(training.stop, FixedEpochs),
        "trainer.watch.every_epochs": watch is not None,
    }
    for setting, whole in needs_whole.items():
        if whole:
            raise Refused(
                f"{setting}: needs whole weights on each device; use runtime.strategy=ddp, or "
                "runtime.devices=1"
            )


def require_supported(runtime: Runtime, update: UpdateRule) -> None:
    """Raises `Refused` for an update rule that the device or the micro-batches exclude."""
    device = device_of(runtime.accelerator).type
    if isinstance(update, AdamW8bit) and device != "cuda" and runtime.auto_arithmetic is None:
        raise Refused(
            f"optimizer=adamw_8bit: bitsandbytes' 8-bit optimizers need a GPU, and "
            f"runtime.accelerator={runtime.accelerator} is {device}; use optimizer=adamw"
        )
    if runtime.micro_batch is None:
        return
    setting = f"runtime.micro_batch={runtime.micro_batch}"
    if runtime.devices > 1 and runtime.strategy == "fsdp":
        raise Refused(f"{setting}: needs whole weights on each device; use runtime.strategy=ddp")
    if isinstance(update, SUREReleased):
        raise Refused(
            f"{setting}: optimizer=sure_released takes its mask from whole batches; use null"
        )
