"""Stages in words, for progress lines, plans and errors."""

from collections.abc import Mapping

from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan_corpus import fold_of


def describe(stage: Stage) -> str:
    """A stage in words: `evaluate unlearn fold 3 (RTN 4 bits) 3f2a91c0`."""
    words = [_with_fold(stage)]
    if "model" in stage.inputs:
        words.append(_with_fold(stage.inputs["model"]))
    quantizer = stage.params.get("quant")
    if isinstance(quantizer, Mapping):
        kind = str(quantizer["_target_"]).rsplit(".", 1)[-1]
        bits = f"{quantizer['bits']} bits" if "bits" in quantizer else None
        detail = bits or quantizer.get("table") or quantizer.get("format")
        words.append(f"({kind} {detail})" if detail else f"({kind})")
    return " ".join([*words, stage.key[:8]])


def _with_fold(stage: Stage) -> str:
    fold = fold_of(stage)
    return stage.name if fold is None else f"{stage.name} fold {fold}"
