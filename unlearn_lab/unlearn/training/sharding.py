"""Fully sharded training: each process holds a part of weights, gradients and optimizer state."""

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from unlearn_lab.models.linears import blocks_name


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
