"""How Lightning's Trainer spreads a training over the processes that torchrun has started."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from unlearn_lab.config.settings import Runtime
from unlearn_lab.unlearn.ranks import num_ranks


class PlainCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint straight to its file, which the caller renames once it is whole.

    Lightning's own puts it together in memory first and then in the system's temporary folder,
    either of which may not hold that of a large model.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Saves what Lightning has gathered."""
        torch.save(checkpoint, path)


def trainer_options(runtime: Runtime) -> dict[str, Any]:
    """Arguments of the Trainer: one device, or one for each of the processes there are.

    The environment is named, so that none is guessed where Slurm is; batches are shared out by
    `data.batch.SharedBatches`, not by Lightning's sampler, which would repeat sequences.
    """
    if num_ranks() == 1:
        return {"devices": 1, "plugins": [LightningEnvironment(), PlainCheckpoints()]}
    strategies = {
        "ddp": DDPStrategy,
        "fsdp": lambda: ModelParallelStrategy(
            data_parallel_size=num_ranks(),
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        ),
    }
    return {
        "devices": num_ranks(),
        "strategy": strategies[runtime.strategy](),
        "plugins": [TorchElasticEnvironment(), PlainCheckpoints()],
        "use_distributed_sampler": False,
    }


def what_ran(runtime: Runtime) -> dict[str, object]:
    """The number of processes, and how they shared the work (`none` for a single one)."""
    count = num_ranks()
    return {"devices": count, "strategy": runtime.strategy if count > 1 else "none"}
