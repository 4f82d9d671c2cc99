"""Decides which stages a quantizer adds to the graph: calibration text, kept models, exports."""

from collections.abc import Mapping
from pathlib import Path

from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.pinned import Pinned, stage
from unlearn_lab.plan.protocols import GivenModels, NeedsCalibration, Packable

_WRITER = "gptqmodel"
"""Writes the formats of auto-gptq and autoawq."""


def calibration_stage(quant: Pinned, corpus: Stage, base: Stage) -> Stage | None:
    """The text that the quantizer sees, None where it wants none."""
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
    """The quantized form of each model on disk: given, or worth keeping, or to be exported.

    None where it is quantized on load, or where nobody gave one.
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
    """The unlearned model as it is kept, and as a file in another format where one is asked for."""
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
    """`export` with the names of the formats that are there anyway replaced by True."""
    return True if export in ("compressed-tensors", "gguf") else export


def _given(quant: Pinned, setting: str | None, weights: str) -> Stage | None:
    """A checkpoint quantized outside unlearn_lab; the key holds its content, not the quantizer."""
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
