"""Reads and writes compressed-tensors checkpoints: integer codes and scales in safetensors."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor, nn

from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.safe_files import require_own_shards
from unlearn_lab.quantize.compressor import other_linears, quietly
from unlearn_lab.quantize.grid import (
    Grid,
    fit_grid,
    nearest_codes,
    relative_error,
    split_groups,
)
from unlearn_lab.quantize.quantizer import Codes, QuantReport
from unlearn_lab.quantize.rtn import RTN

_STRATEGIES = {"tensor": "tensor", "row": "channel", "group": "group"}
_INDEX = "model.safetensors.index.json"


def write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, quantizer: RTN, folder: Path
) -> QuantReport:
    """Writes the model rounded by `quantizer` as a checkpoint for transformers and vLLM.

    The codes are those of `RTN.codes`. Scales are stored in the model's dtype, as loaders expect:
    for a bfloat16 model they are coarser than the float32 steps of `RTN.quantize`, by 0.2 % on
    average. Raises `ValueError` naming the layer when a weight cannot be rounded.

    Args:
        model: the model; changed in place and not usable afterwards.
        tokenizer: the model's tokenizer.
        quantizer: the quantizer.
        folder: the folder to write to.
    """
    errors = {}
    with quietly():
        _announce(model, quantizer)
        for name, layer in block_linears(model).items():
            weight = layer.weight.detach()
            try:
                errors[name] = _store(layer, weight, quantizer)
            except ValueError as error:
                raise ValueError(f"layer {name}: {error}") from error
        _compress(model, folder)
    tokenizer.save_pretrained(folder)
    report = quantizer.report(errors)
    return replace(report, kernel=f"{report.kernel}, scales kept in {_dtype(model)}")


def read_codes(folder: Path, name: str, *, bits: int, rescaled: bool) -> Codes:
    """Returns a layer's codes in a checkpoint.

    Args:
        folder: the checkpoint.
        name: the layer's name.
        bits: bits per weight.
        rescaled: whether weights were rescaled before rounding; steps are then None.
    """
    integers, steps, zeros = read_integers(folder, name, bits=bits)
    centred = integers - _spread(zeros, integers.shape)
    return Codes(integers=centred, steps=None if rescaled else _spread(steps, integers.shape))


def read_integers(
    folder: Path, name: str, *, bits: int
) -> tuple[Int[Tensor, "out in"], Float[Tensor, "out groups"], Int[Tensor, "out groups"]]:
    """Returns a layer as stored: signed integers, scales in float32, and signed zero points.

    Raises `ValueError` when the checkpoint does not contain it.

    Args:
        folder: the checkpoint.
        name: the layer's name.
        bits: bits per weight.
    """
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    shape = torch.Size(_needed(folder, f"{name}.weight_shape").tolist())
    integers = unpack_from_int32(_needed(folder, f"{name}.weight_packed"), bits, shape)
    scales = _needed(folder, f"{name}.weight_scale").float()
    scales = scales.reshape(1, 1) if scales.numel() == 1 else scales
    zeros = _tensor(folder, f"{name}.weight_zero_point")
    if zeros is None:
        zeros = torch.zeros_like(scales)
    elif zeros.dtype == torch.int32:
        zeros = unpack_from_int32(zeros, bits, torch.Size(scales.shape), packed_dim=0)
    rows = (shape[0], scales.shape[1])
    return (
        integers.to(torch.int16),
        scales.expand(rows),
        zeros.reshape(scales.shape).to(torch.int16).expand(rows),
    )


def quantized_layers(folder: Path) -> list[str]:
    """Returns the names of the layers stored packed in the checkpoint at `folder`."""
    names = [name for file in sorted(folder.glob("*.safetensors")) for name in tensor_names(file)]
    return [
        name.removesuffix(".weight_packed") for name in names if name.endswith(".weight_packed")
    ]


def tensor_names(file: Path) -> list[str]:
    """Returns the names of the tensors in a safetensors file."""
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def _spread(groups: Tensor, shape: torch.Size) -> Tensor:
    """Repeats each group's value for every weight of the group."""
    return groups.repeat_interleave(shape[1] // groups.shape[1], dim=1).expand(shape)


def _announce(model: PreTrainedModel, quantizer: RTN) -> None:
    """Attaches a scheme to each block linear, with parameters for scales and zero points."""
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        QuantizationStatus,
        apply_quantization_config,
    )

    arguments = QuantizationArgs.model_validate(
        {
            "num_bits": quantizer.bits,
            "type": "int",
            "symmetric": quantizer.symmetric,
            "strategy": _STRATEGIES[quantizer.granularity],
            "group_size": quantizer.group_size,
        }
    )
    config = QuantizationConfig(
        config_groups={"group_0": QuantizationScheme(targets=["Linear"], weights=arguments)},
        ignore=other_linears(model),
        quantization_status=QuantizationStatus.FROZEN,
    )
    apply_quantization_config(model, config)


def _store(layer: nn.Linear, weight: Float[Tensor, "out in"], quantizer: RTN) -> float:
    """Stores rounded weight, scales and zero points in the layer; returns the relative error."""
    groups = split_groups(weight, quantizer.granularity, quantizer.group_size)
    grid = fit_grid(groups, quantizer.bits, quantizer.convention)
    steps = grid.steps.to(weight.dtype)
    rounded = (nearest_codes(groups, grid) * steps.float()).reshape(weight.shape)
    shape = (1,) if quantizer.granularity == "tensor" else (weight.shape[0], -1)
    layer.weight = _frozen(rounded)  # in float32, so that the library computes the same codes
    layer.weight_scale = _frozen(_no_zero(steps).reshape(shape))
    if not quantizer.symmetric:
        layer.weight_zero_point = _frozen(_signed_zero_points(grid).reshape(shape))
    return relative_error(rounded.to(weight.dtype), weight)


def _no_zero(steps: Tensor) -> Tensor:
    """Replaces steps of 0 by 1: any step fits a group of zeros, but division by 0 gives NaN."""
    return torch.where(steps > 0, steps, torch.ones_like(steps))


def _signed_zero_points(grid: Grid) -> Tensor:
    """Returns zero points as signed integers, the lowest of which represents the lowest level."""
    return (grid.zero_points - (grid.highest + 1) // 2).to(torch.int8)


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.contiguous(), requires_grad=False)


def _compress(model: PreTrainedModel, folder: Path) -> None:
    from compressed_tensors import ModelCompressor

    compressor = ModelCompressor.from_pretrained_model(model)
    if compressor is None:
        raise ValueError(f"{type(model).__name__}: compressed-tensors found nothing to compress")
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(str(folder))


def _needed(folder: Path, name: str) -> Tensor:
    found = _tensor(folder, name)
    if found is None:
        raise ValueError(f"{folder} holds no {name}: it is no packed checkpoint of this model")
    return found


def _tensor(folder: Path, name: str) -> Tensor | None:
    index = folder / _INDEX
    file: str | None = "model.safetensors"
    if index.exists():
        file = require_own_shards(index).get(name)
    if file is None:
        return None
    with safe_open(folder / file, framework="pt") as tensors:
        known = set(tensors.keys())
        return tensors.get_tensor(name) if name in known else None


def _dtype(model: PreTrainedModel) -> str:
    return str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
