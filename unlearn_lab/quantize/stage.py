"""The quantize stages: quantized models worth keeping, as checkpoints that other tools load."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from unlearn_lab.build import build as make
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.hub import point
from unlearn_lab.models.load import device_of, load_model, load_tokenizer
from unlearn_lab.models.memory import peak_gb, reset_peak
from unlearn_lab.quantize import gptqmodel_files, packed
from unlearn_lab.quantize.calibration_stage import read as read_calibration
from unlearn_lab.quantize.prequantized import describe
from unlearn_lab.quantize.quantizer import AnyQuantizer, CalibratedQuantizer
from unlearn_lab.quantize.rtn import RTN
from unlearn_lab.settings import Runtime

UNPACKED = ("gptq ", "awq ")
"""Kernels, as reported, of checkpoints that are unpacked here."""
UNPACKED_FILES = ["*.safetensors", "*.json"]


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a compressed-tensors checkpoint with tokenizer, and what really ran."""
    reset_peak()
    quantizer = make(params["quant"], AnyQuantizer, "quant")
    model = load_model(inputs["model"].path, params["weights"])
    tokenizer = load_tokenizer(inputs["model"].path)
    if isinstance(quantizer, CalibratedQuantizer):
        sequences = read_calibration(inputs["calibration"])
        report = quantizer.compress(model, tokenizer, sequences, work)
    elif isinstance(quantizer, RTN):
        report = packed.write(model, tokenizer, quantizer, work)
    else:
        raise TypeError(f"{type(quantizer).__name__} writes no checkpoint")
    return {
        "quantizer": dataclasses.asdict(report),
        "peak_gb": peak_gb(device_of(runtime.accelerator).type),
        "bytes": sum(file.stat().st_size for file in work.glob("*.safetensors")),
    }


def build_prequantized(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a model that somebody else quantized, or a pointer to it.

    The formats of auto-gptq and autoawq are unpacked into ordinary weights, exactly; a pointer does
    for all others.
    """
    path, revision = params["path"], params["revision"]
    report = describe(path, revision)
    if not report.kernel.startswith(UNPACKED):
        point(work, path, revision, trust_remote_code=False)
        return {"quantizer": dataclasses.asdict(report)}
    folder = Path(path)
    if not folder.is_dir():
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=UNPACKED_FILES))
    gptqmodel_files.run("plain", folder, work, params["weights"])
    kernel = f"{report.kernel}, unpacked to {params['weights']}"
    return {"quantizer": dataclasses.asdict(dataclasses.replace(report, kernel=kernel))}
