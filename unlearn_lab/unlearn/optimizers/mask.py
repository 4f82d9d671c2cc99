"""Writes, reads and summarises the mask of a training, a file in the weights' folder."""

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
    """Writes rank 0's mask: one entry per unit by parameter, True for units that are trained."""
    if is_first():
        fresh = folder / f"{FILE}.new"  # atomic: a resumed training reads the file
        save_file({name: kept.contiguous() for name, kept in mask.items()}, fresh)
        fresh.rename(folder / FILE)


def read_mask(folder: Path) -> dict[str, Bool[Tensor, " _"]]:
    """Reads the mask of a training; empty if it has none."""
    path = folder / FILE
    return load_file(path) if path.exists() else {}


def summary(
    mask: Mapping[str, Bool[Tensor, " _"]], layouts: Mapping[str, Layout], threshold: float
) -> dict[str, float | int]:
    """Returns the number of units, the shares (0..1) of units and weights trained, and gamma.

    Args:
        mask: True for units that are trained, by parameter.
        layouts: the units of each parameter.
        threshold: gamma, the percentile of the saliencies at the latest mask.
    """
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
    """Returns the indices of the units that are trained; None if all are."""
    return None if bool(kept.all()) else kept.nonzero().squeeze(1).to(device)
