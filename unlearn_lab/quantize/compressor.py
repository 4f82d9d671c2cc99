"""Runs llm-compressor: builds schemes, runs its one-shot calibration, writes its checkpoints."""

import contextlib
import importlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.grid import BIT_WIDTHS
from unlearn_lab.quantize.quantizer import QuantReport

LIBRARY = "llmcompressor"
LIBRARIES = (LIBRARY, "compressed-tensors")
"""Libraries whose versions determine the result."""
_log = logging.getLogger(__name__)


@runtime_checkable
class IntegerGrid(Protocol):
    """Quantizer on llm-compressor's integer grids.

    `group_size` inputs share a scale, None means one per row; a row shorter than the group is one
    group. The step is 2 max|w| / (2^bits - 1) if `symmetric`, else (max - min) / (2^bits - 1).
    """

    @property
    def bits(self) -> int:
        """Bits per weight, 2 to 8."""
        ...

    @property
    def group_size(self) -> int | None:
        """Inputs that share a scale; None for one scale per row."""
        ...

    @property
    def symmetric(self) -> bool:
        """Whether the grid is symmetric around 0."""
        ...


def check_grid(grid: IntegerGrid) -> None:
    """Raises `ValueError` for an invalid number of bits or group size."""
    if grid.bits not in BIT_WIDTHS:
        raise ValueError(f"bits={grid.bits}: must be a whole number from 2 to 8")
    if grid.group_size is not None and grid.group_size < 1:
        raise ValueError(f"group_size={grid.group_size}: must be above 0, or null")


def report_on(
    grid: IntegerGrid, kernel: str, layers: Mapping[str, nn.Linear], errors: Mapping[str, float]
) -> QuantReport:
    """Builds the report of a quantization.

    Args:
        grid: the quantizer.
        kernel: description of the computation.
        layers: the quantized layers by name.
        errors: relative weight error by layer name.
    """
    size = grid.group_size
    short = size is not None and any(layer.in_features < size for layer in layers.values())
    group = "row" if size is None else f"{size} inputs"
    return QuantReport(
        library=require(LIBRARY),
        kernel=kernel,
        bits=grid.bits,
        group=f"{group}, or a shorter row" if short else group,
        symmetric=grid.symmetric,
        convention="full_range" if grid.symmetric else "minmax",
        num_layers=len(errors),
        weight_error=errors,
    )


def require_groups(model: PreTrainedModel, group_size: int | None) -> None:
    """Raises `ValueError` without the library, or if the group does not divide a longer row."""
    require(LIBRARY)
    for name, layer in block_linears(model).items():
        if group_size and layer.in_features > group_size and layer.in_features % group_size:
            raise ValueError(
                f"group_size={group_size}: layer {name} has {layer.in_features} input features; "
                "choose a divisor of that, or null for one scale a row"
            )


def config_groups(layers: Mapping[str, nn.Linear], grid: IntegerGrid) -> dict[str, Any]:
    """Builds llm-compressor's schemes: one scale per group, or per row if it is shorter.

    llm-compressor itself fails on rows shorter than the group.
    """
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    def scheme(targets: Sequence[str], size: int | None) -> Any:
        arguments = QuantizationArgs.model_validate(
            {
                "num_bits": grid.bits,
                "type": "int",
                "symmetric": grid.symmetric,
                "strategy": "channel" if size is None else "group",
                "group_size": size,
            }
        )
        return QuantizationScheme(targets=list(targets), weights=arguments)

    size = grid.group_size
    short = [name for name, layer in layers.items() if size and layer.in_features < size]
    if size is None or len(short) == len(layers):
        return {"rows": scheme(["Linear"], None)}
    if not short:
        return {"groups": scheme(["Linear"], size)}
    long = [name for name in layers if name not in set(short)]
    return {"groups": scheme(long, size), "rows": scheme(short, None)}


def other_linears(model: PreTrainedModel) -> list[str]:
    """Returns the linear layers that are not quantized: `lm_head` and others outside the blocks."""
    inside = block_linears(model)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name not in inside
    ]


def calibrate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sequences: Int[Tensor, "samples length"],
    modifiers: Sequence[Any],
    device: torch.device,
) -> None:
    """Applies llm-compressor's modifiers to the model in place, layer by layer on `device`.

    Samples are processed one by one in the given order, so the result is reproducible. Raises
    `ValueError` when a block linear has no scale, or scales or weights that are not finite.

    Args:
        model: the model, on the CPU.
        tokenizer: the model's tokenizer.
        sequences: token ids of the calibration set.
        modifiers: llm-compressor's modifiers, in the order of application.
        device: the device on which layers run.
    """
    from llmcompressor.core import reset_session
    from llmcompressor.entrypoints.oneshot import oneshot

    rows = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in sequences]
    try:
        with _config_on_disk(model), _on(device):
            oneshot(
                model=model,
                processor=cast("Any", tokenizer),
                recipe=list(modifiers),
                dataset=DataLoader(cast("Any", rows), batch_size=1),
                shuffle_calibration_samples=False,
            )
    finally:
        reset_session()
    require_scales(model)


def kept_parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    """Returns copies of all parameters except the block linears' weights."""
    linears = {f"{name}.weight" for name in block_linears(model)}
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if name not in linears
    }


@torch.no_grad()
def restore(model: PreTrainedModel, kept: Mapping[str, Tensor]) -> None:
    """Restores parameters that llm-compressor changed although they are not quantized.

    It rewrites Gemma-style norm weights as 1 + w and back, which rounds them in bfloat16.
    """
    from compressed_tensors.offload import update_offload_parameter

    for name, values in kept.items():
        place, _, last = name.rpartition(".")
        update_offload_parameter(model.get_submodule(place), last, values)


def require_scales(model: PreTrainedModel) -> None:
    """Raises `ValueError` naming a block linear without a scale, or with values not finite."""
    layers = block_linears(model)
    missing = [name for name, layer in layers.items() if not hasattr(layer, "weight_scale")]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(layers)} layers were not quantized, {missing[0]} among them; "
            "this architecture is not supported by llm-compressor as it is"
        )
    for name, layer in layers.items():
        tensors = (layer.weight, cast("Tensor", layer.weight_scale))
        if not all(bool(torch.isfinite(values).all()) for values in tensors):
            raise ValueError(
                f"layer {name}: its scales or weights are not finite after calibration; check the "
                "model's weights, or use more calibration samples"
            )


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes a compressed-tensors checkpoint that transformers and vLLM load directly.

    Args:
        model: the quantized model.
        tokenizer: the model's tokenizer.
        folder: the folder to write to.
    """
    with _config_on_disk(model):
        model.save_pretrained(folder, save_compressed=True)
    tokenizer.save_pretrained(folder)
    (folder / "recipe.yaml").unlink(missing_ok=True)  # repeats config.json


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keeps the library's log, progress bars and warnings off the terminal.

    Captured output is logged at level DEBUG. Fallbacks are not detected from it: each is checked
    for and refused where it can happen.
    """
    parallel = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    said = StringIO()
    tracing = logging.getLogger("torch.fx._symbolic_trace")
    level = tracing.level
    try:
        with (
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(said),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            importlib.import_module("llmcompressor")  # enables its log
            from loguru import logger

            for library in ("llmcompressor", "compressed_tensors"):
                logger.disable(library)
            tracing.setLevel(logging.ERROR)
            yield
    finally:
        tracing.setLevel(level)
        if parallel is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = parallel
        _log.debug("llm-compressor said: %s", said.getvalue())


@contextlib.contextmanager
def _config_on_disk(model: PreTrainedModel) -> Iterator[None]:
    """Sets the model's `name_or_path` to a temporary folder with its config.

    The library looks up the config and Python files by that name, on the hub if necessary.
    """
    name = model.config.name_or_path
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        model.config.name_or_path = folder
        try:
            yield
        finally:
            model.config.name_or_path = name


@contextlib.contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Makes the library use `device`; by default it takes any accelerator.

    On the CPU, disables AWQ's memory pinning, which fails without an accelerator.
    """
    from compressed_tensors.utils import patch_attr
    from llmcompressor.pipelines.cache import IntermediatesCache
    from llmcompressor.pipelines.data_free import pipeline as data_free
    from llmcompressor.pipelines.sequential import pipeline as sequential

    with contextlib.ExitStack() as replaced:
        for module in (data_free, sequential):
            replaced.enter_context(patch_attr(module, "get_main_device", lambda: device))
        if device.type == "cpu":
            nothing = patch_attr(IntermediatesCache, "pin_memory", lambda *_, **__: None)
            replaced.enter_context(nothing)
        yield
