"""Decides which stages a quantizer adds to the graph: calibration text, stored models, exports."""

from collections.abc import Mapping
from pathlib import Path

from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.pinned import Pinned, stage
from unlearn_lab.plan.protocols import GivenModels, NeedsCalibration, Packable

_WRITER = "gptqmodel"
"""The library that writes the formats of auto-gptq and autoawq."""


def calibration_stage(quant: Pinned, corpus: Stage, base: Stage) -> Stage | None:
    """Returns the stage of the text that a quantizer needs; None if it needs none.

    Args:
        quant: the quantizer.
        corpus: the corpus to score on.
        base: the model where training starts.
    """
    if not isinstance(quant.value, NeedsCalibration):
        return None
    calibration = quant.inner["calibration"]
    return stage(
        "calibration",
        "unlearn_lab.quantize.calibration_stage:build",
        {"calibration": calibration.node},
        {"corpus": corpus, "base": base},
        parts=[calibration],
    )


def quantized_models(
    models: Mapping[str, Stage],
    quant: Pinned,
    weights: str,
    calibration: Stage | None,
    *,
    export: bool,
) -> dict[str, Stage | None]:
    """Returns each model's quantized checkpoint, by role: given, calibrated, or to be exported.

    None where the model is quantized on load, or where no checkpoint is given.

    Args:
        models: the models by role.
        quant: the quantizer.
        weights: dtype of the models' weights, `trainer.weights`.
        calibration: the stage of the calibration text.
        export: whether to store the checkpoint of a quantizer that rounds on load.
    """
    if isinstance(quant.value, GivenModels):
        return {who: _given(quant, quant.value.given.get(who), weights) for who in models}
    packing: tuple[str, ...] = ()
    if calibration is None:
        if not (export and isinstance(quant.value, Packable)):
            return dict.fromkeys(models)
        packing = tuple(quant.value.packing_libraries)
    text = {} if calibration is None else {"calibration": calibration}
    return {
        who: stage(
            "quantize",
            "unlearn_lab.quantize.quantize_stage:build",
            {"quant": quant.node, "weights": weights},
            {"model": model, **text},
            parts=[quant],
            libraries=packing,
        )
        for who, model in models.items()
    }


def export_stages(
    quant: Pinned, export: bool | str, unlearn: Stage, kept: Stage | None
) -> dict[str, Stage]:
    """Returns the stages that store the unlearned model: its quantized checkpoint and an export.

    Args:
        quant: the quantizer.
        export: `export` as returned by `asked_export`.
        unlearn: the unlearned model.
        kept: its quantized checkpoint; None if it is quantized on load.
    """
    stages = {} if kept is None else {"quantize": kept}
    if isinstance(export, str) or (export and kept is None):
        stages["export"] = stage(
            "export",
            "unlearn_lab.quantize.export_stage:build",
            {"quant": quant.node, "format": export},
            {"model": unlearn} if kept is None else {"model": unlearn, "quantized": kept},
            parts=[quant],
            libraries=[_WRITER] if isinstance(export, str) else [],
        )
    return stages


def asked_export(export: bool | str) -> bool | str:
    """Returns `export`, with True for the formats in which checkpoints are stored anyway."""
    return True if export in ("compressed-tensors", "gguf") else export


def _given(quant: Pinned, setting: str | None, weights: str) -> Stage | None:
    """Returns a checkpoint quantized elsewhere; its key contains its content, not the quantizer."""
    if setting is None:
        return None
    path = quant.node[setting]
    revision = None if Path(path).exists() else quant.files[f"{quant.path}.{setting}"]
    params = {"path": path, "revision": revision, "weights": weights}
    return stage(
        "quantize",
        "unlearn_lab.quantize.quantize_stage:build_prequantized",
        params,
        parts=[quant.reading(setting)],
    )
