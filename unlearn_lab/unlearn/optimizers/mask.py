"""The mask of a training: kept beside the weights, and told in shares by layer."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Bool
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn_lab.unlearn.optimizers.units import Layout
from unlearn_lab.unlearn.ranks import is_first

FILE = "mask.safetensors"


def write_mask(folder: Path, mask: Mapping[str, Bool[Tensor, " _"]]) -> None:
    """Keeps one entry a unit, True for a unit that takes part, by parameter; the first rank's."""
    if is_first():
        fresh = folder / f"{FILE}.new"  # a training that is killed meanwhile is resumed from it
        save_file({name: kept.contiguous() for name, kept in mask.items()}, fresh)
        fresh.rename(folder / FILE)


def read_mask(folder: Path) -> dict[str, Bool[Tensor, " _"]]:
    """The mask of a finished training; empty when it had none."""
    path = folder / FILE
    return load_file(path) if path.exists() else {}


def summary(
    mask: Mapping[str, Bool[Tensor, " _"]], layouts: Mapping[str, Layout], threshold: float
) -> dict[str, float | int]:
    """Units, the share of them and of their weights that take part, and the threshold gamma."""
    units = sum(kept.numel() for kept in mask.values())
    weights = sum(layouts[name].unit_size * kept.numel() for name, kept in mask.items())
    kept_weights = sum(layouts[name].unit_size * int(kept.sum()) for name, kept in mask.items())
    return {
        "units": units,
        "kept": sum(int(kept.sum()) for kept in mask.values()) / units,
        "kept_weights": kept_weights / weights,
        "threshold": threshold,
    }


def kept_units(kept: Bool[Tensor, " units"], device: torch.device) -> Tensor | None:
    """The places of the units that take part; None when all do."""
    return None if bool(kept.all()) else kept.nonzero().squeeze(1).to(device)
