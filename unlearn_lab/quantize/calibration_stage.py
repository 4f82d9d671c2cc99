"""Builds the calibration stage: draws the calibration set once for all calibrated quantizers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.load import load_tokenizer
from unlearn_lab.quantize.calibration import Calibration

FILE = "tokens.safetensors"


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact `tokens.safetensors` with the tensor `ids` (samples x length).

    Args:
        params: the stage's parameters; `calibration` configures the set.
        inputs: the artifacts `corpus` and `base`, whose tokenizer is used.
        work: the folder to write to.
        runtime: not used.

    Returns:
        The facts: source, number of samples and their length.
    """
    calibration = make(params["calibration"], Calibration, "quant.calibration")
    corpus, tokenizer = read_corpus(inputs["corpus"]), load_tokenizer(inputs["base"].path)
    ids = calibration.draw(corpus, tokenizer)
    save_file({"ids": ids}, work / FILE)
    return {"source": calibration.source, "samples": len(ids), "length": ids.shape[1]}


def read_calibration(artifact: Artifact) -> Int[Tensor, "samples length"]:
    """Returns the token sequences of a finished calibration stage."""
    return load_file(artifact.path / FILE)["ids"]
