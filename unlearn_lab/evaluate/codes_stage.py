"""Builds the codes stages: how unlearning moved the weights, and which codes it changed."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.evaluate.codes import Coder, compare_codes, compare_moves
from unlearn_lab.evaluate.stored_scores import CODES, WIDTHS
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.formats.packed import read_codes
from unlearn_lab.quantize.quantizer import AnyQuantizer, CalibratedQuantizer, Quantizer
from unlearn_lab.quantize.rtn import RTN

BY_WIDTH = ("flip_rate", "relative_step", "update_kept", "zero_bin")


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact `codes.json`: the figures overall and by layer.

    Args:
        params: the stage's parameters: `quant`, and `weights`, `lr`, `rounding` and `merged` of
            unlearning.
        inputs: the artifacts `target` and `unlearned`; for calibrated quantizers also
            `target.quantized` and `unlearned.quantized`.
        work: the folder to write to.
        runtime: not used.

    Returns:
        The facts: the number of layers.
    """
    before, after = (_linears(model) for model in _models(params, inputs))
    coders = _coders(make(params["quant"], AnyQuantizer, "quant"), inputs)
    report = compare_codes(before, after, coders, **_rate(params))
    (work / CODES).write_text(json.dumps(dataclasses.asdict(report)), encoding="utf-8")
    return {"layers": len(report.layers)}


def build_widths(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact `widths.json`: figures of the weights independent of the run's quantizer.

    `widths` has the figures `BY_WIDTH` by bits and layer; the quantizer at each of the `bits` is
    `RTN` (one step per row, symmetric, absmax). `parameters` has the figures of `Moves` over all
    parameters of the model.

    Args:
        params: the stage's parameters: `bits`, and `weights`, `lr`, `rounding` and `merged` of
            unlearning.
        inputs: the artifacts `target` and `unlearned`.
        work: the folder to write to.
        runtime: not used.

    Returns:
        The facts: the bit widths.
    """
    models = _models(params, inputs)
    moves = compare_moves(*_parameters(*models), **_rate(params))
    before, after = (_linears(model) for model in models)
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for bits in params["bits"]:
        quantizer = RTN(
            bits=bits, symmetric=True, granularity="row", group_size=None, convention="absmax"
        )
        coder = _rounding(quantizer)
        layers = compare_codes(before, after, (coder, coder), **_rate(params)).layers
        found[str(bits)] = {
            name: {figure: getattr(figures, figure) for figure in BY_WIDTH}
            for name, figures in layers.items()
        }
    body = {"widths": found, "parameters": dataclasses.asdict(moves)}
    (work / WIDTHS).write_text(json.dumps(body), encoding="utf-8")
    return {"bits": list(params["bits"])}


def _models(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact]
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Returns target and unlearned model in the dtype of training."""
    target, unlearned = (
        load_model(inputs[who].path, params["weights"]) for who in ("target", "unlearned")
    )
    return target, unlearned


def _coders(quantizer: AnyQuantizer, inputs: Mapping[str, Artifact]) -> tuple[Coder, Coder]:
    """Returns the coders of target and unlearned model: by rounding, or from checkpoints.

    Quantizers without codes get coders that return None.
    """
    if isinstance(quantizer, CalibratedQuantizer):
        old, new = (
            _stored(inputs[f"{who}.quantized"].path, quantizer) for who in ("target", "unlearned")
        )
        return old, new
    if not isinstance(quantizer, Quantizer):
        return _without_grid, _without_grid
    return _rounding(quantizer), _rounding(quantizer)


def _rounding(quantizer: Quantizer) -> Coder:
    return lambda _, weight: quantizer.codes(weight)


def _stored(folder: Path, quantizer: CalibratedQuantizer) -> Coder:
    bits = cast("int", quantizer.bits)
    return lambda name, weight: read_codes(folder, name, bits=bits, rescaled=quantizer.rescales)


def _without_grid(name: str, weight: Tensor) -> None:
    return None


def _rate(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns learning rate and rounding; merged adapters take no steps and count as stochastic.

    The rate is None where it is unknown.
    """
    free = params["rounding"] == "stochastic" or params.get("merged", False)
    return {"learning_rate": params["lr"], "stochastic": free}


def _parameters(*models: PreTrainedModel) -> list[dict[str, Tensor]]:
    """Returns the parameters by name; a tied head counts where one of the models has it untied."""
    found = [dict[str, Tensor](model.named_parameters()) for model in models]
    if len({frozenset(one) for one in found}) == 1:
        return found
    return [dict(model.named_parameters(remove_duplicate=False)) for model in models]


def _linears(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: linear.weight for name, linear in block_linears(model).items()}
