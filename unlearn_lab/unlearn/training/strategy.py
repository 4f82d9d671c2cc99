"""Multi-process training: Lightning strategies, and FSDP sharding of the weights."""

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

from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.linears import blocks_name
from unlearn_lab.unlearn.ranks import num_ranks


class PlainCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint directly to its file, which the caller renames when it is complete.

    Lightning's own assembles it in memory first and then in the system's temporary folder, either
    of which may be too small for a large model.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Saves the state that Lightning has gathered."""
        torch.save(checkpoint, path)


def trainer_options(runtime: Runtime) -> dict[str, Any]:
    """Returns the Trainer's arguments for one device, or one device per rank.

    The environment is explicit, so that Lightning does not detect Slurm. Batches are divided by
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
    """Returns the facts on the number of processes and the strategy (`none` for a single one)."""
    count = num_ranks()
    return {"devices": count, "strategy": runtime.strategy if count > 1 else "none"}


def shard(module: nn.Module, model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Shards the weights over the ranks of `mesh`, in place (FSDP).

    The weights of each block are gathered while it runs; those of the rest of `module` stay
    gathered through a step.

    Args:
        module: the module whose `training_step` runs the model.
        model: its model.
        mesh: the ranks.
    """
    name = blocks_name(model)
    for block in [] if name is None else model.get_submodule(name).children():
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    register_fsdp_forward_method(module, "training_step")


def whole(value: Tensor) -> Tensor:
    """Gathers a sharded tensor on every rank; returns any other unchanged."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def unshard(module: nn.Module) -> None:
    """Gathers all weights on every rank, in place; tied weights stay tied."""
    made: dict[DTensor, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                if parameter not in made:
                    full = whole(parameter.detach())
                    made[parameter] = nn.Parameter(full, parameter.requires_grad)
                setattr(part, name, made[parameter])
