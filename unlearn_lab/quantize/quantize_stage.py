"""Builds the quantize stages: quantized models as checkpoints that other tools can load."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.complete import require_finite_weights
from unlearn_lab.models.device import device_of, peak_gb, reset_peak
from unlearn_lab.models.load import Source, load_model, load_tokenizer
from unlearn_lab.models.pointer import point
from unlearn_lab.quantize.calibration_stage import read_calibration
from unlearn_lab.quantize.formats import gptqmodel_files, packed
from unlearn_lab.quantize.prequantized import count_quantized, describe, method_of
from unlearn_lab.quantize.quantizer import AnyQuantizer, CalibratedQuantizer
from unlearn_lab.quantize.rtn import RTN

WANTED = ["*.safetensors", "*.json"]
"""Files downloaded from a checkpoint on the hub; no pickle files."""


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a compressed-tensors checkpoint with tokenizer.

    Args:
        params: the stage's parameters: `quant`, and the dtype `weights` to load the model in.
        inputs: the artifact `model`, and `calibration` for calibrated quantizers.
        work: the folder to write to.
        runtime: `accelerator` selects the device.

    Returns:
        The facts: the report of what ran, device, peak memory in GB, and bytes of the weights.
    """
    reset_peak()
    device = device_of(runtime.accelerator)
    quantizer = make(params["quant"], AnyQuantizer, "quant")
    model = load_model(inputs["model"].path, params["weights"])
    tokenizer = load_tokenizer(inputs["model"].path)
    if isinstance(quantizer, CalibratedQuantizer):
        sequences = read_calibration(inputs["calibration"])
        report = quantizer.compress(model, tokenizer, sequences, work, device)
    elif isinstance(quantizer, RTN):
        report = packed.write(model, tokenizer, quantizer, work)
    else:
        raise TypeError(f"{type(quantizer).__name__} writes no checkpoint")
    return {
        "quantizer": dataclasses.asdict(report),
        "device": str(device),
        "peak_gb": peak_gb(device.type),
        "bytes": sum(file.stat().st_size for file in work.glob("*.safetensors")),
    }


def build_prequantized(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact for a checkpoint quantized by another tool.

    Checkpoints in auto-gptq's and autoawq's formats are unpacked exactly and cast to the dtype
    `weights`; for all others the artifact is a pointer. Raises `Incomplete` for weights that are
    missing, left over or not finite.

    Args:
        params: the stage's parameters `path`, `revision` and `weights`.
        inputs: not used.
        work: the folder to write to.
        runtime: not used.

    Returns:
        The facts: the report on the checkpoint.
    """
    path, revision = params["path"], params["revision"]
    report = describe(path, revision)
    checkpoint = Path(path)
    if not checkpoint.exists():
        checkpoint = Path(snapshot_download(path, revision=revision, allow_patterns=WANTED))
    report = dataclasses.replace(report, num_layers=count_quantized(checkpoint))
    if method_of(path, revision) in gptqmodel_files.LAYOUTS:
        gptqmodel_files.run("plain", checkpoint, work, params["weights"])
        kernel = f"{report.kernel}, unpacked to {params['weights']}"
        report = dataclasses.replace(report, kernel=kernel)
    else:
        place = Source(
            path=path,
            revision=revision,
            tokenizer=None,
            tokenizer_revision=None,
            trust_remote_code=False,
        )
        point(work, place)
    require_finite_weights(load_model(work, params["weights"]), path)
    return {"quantizer": dataclasses.asdict(report)}
