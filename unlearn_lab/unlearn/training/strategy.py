"""Several processes in one training: Lightning strategies, and FSDP sharding of the weights."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.linears import blocks_name
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


def shard(module: nn.Module, model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Spreads the weights over the processes of `mesh`, in place.

    Each block of the model is put together when it runs and taken apart again; the rest of `module`
    stays together through a step.
    """
    name = blocks_name(model)
    for block in [] if name is None else model.get_submodule(name).children():
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    register_fsdp_forward_method(module, "training_step")


def whole(value: Tensor) -> Tensor:
    """A sharded tensor put together on every process; any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def unshard(module: nn.Module) -> None:
    """Puts all weights together again, in place, on every process; tied ones stay tied."""
    made: dict[DTensor, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                if parameter not in made:
                    full = whole(parameter.detach())
                    made[parameter] = nn.Parameter(full, parameter.requires_grad)
                setattr(part, name, made[parameter])
