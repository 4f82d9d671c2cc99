"""The codes stage: what unlearning did to the weights, and which of it the quantizer can see."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_lab.build import build as make
from unlearn_lab.evaluate.codes import compare_codes
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.quantizer import Quantizer
from unlearn_lab.settings import Runtime

FILE = "codes.json"


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: `codes.json` with the figures overall and by layer."""
    models = {
        who: load_model(inputs[who].path, params["weights"]) for who in ("target", "unlearned")
    }
    weights = {
        who: {name: linear.weight for name, linear in block_linears(model).items()}
        for who, model in models.items()
    }
    report = compare_codes(
        weights["target"],
        weights["unlearned"],
        make(params["quant"], Quantizer, "quant"),
        learning_rate=params["lr"],
    )
    (work / FILE).write_text(json.dumps(dataclasses.asdict(report)), encoding="utf-8")
    return {"layers": len(report.layers)}


def read(artifact: Artifact) -> dict[str, dict[str, Any]]:
    """`overall` figures, and those of `layers` by name."""
    return json.loads((artifact.path / FILE).read_text(encoding="utf-8"))
