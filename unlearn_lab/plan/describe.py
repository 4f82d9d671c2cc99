"""Describes stages and quantizers for progress lines, errors and the cache's table."""

from collections.abc import Mapping
from typing import Any

from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.corpora import fold_of


def describe(stage: Stage) -> str:
    """Describes a stage: `evaluate unlearn fold 3 (RTN 4 bits) 3f2a91c0`."""
    words = [_with_fold(stage)]
    if "model" in stage.inputs:
        words.append(_with_fold(stage.inputs["model"]))
    quantizer = stage.params.get("quant")
    if isinstance(quantizer, Mapping):
        words.append(f"({describe_quantizer(quantizer)})")
    return " ".join([*words, stage.key[:8]])


def describe_quantizer(node: Mapping[str, Any]) -> str:
    """Describes a quantizer by its class and its bits, table or format: `RTN 4 bits`."""
    kind = str(node["_target_"]).rsplit(".", 1)[-1]
    detail = f"{node['bits']} bits" if "bits" in node else node.get("table") or node.get("format")
    return f"{kind} {detail}" if detail else kind


def _with_fold(stage: Stage) -> str:
    fold = fold_of(stage)
    return stage.name if fold is None else f"{stage.name} fold {fold}"
