"""The evaluate stage: one model, perhaps quantized on load, answers all metrics in one pass."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_lab.build import build as make
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stage import read as read_corpus
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.metric import Metric, Score
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.load import device_of, load_model, load_tokenizer, to_compute
from unlearn_lab.quantize.quantizer import Quantizer
from unlearn_lab.settings import Runtime

FILE = "scores.json"


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: `scores.json`, a `Score` per metric; the facts tell what really ran."""
    quantizer = make(params["quant"], Quantizer, "quant")
    metrics = {
        name: make(node, Metric, f"eval.metrics.{name}") for name, node in params["metrics"].items()
    }
    loaded = load_model(inputs["model"].path, params["weights"])
    model: PreTrainedModel = cast("Any", loaded).to(device_of(runtime.accelerator))
    tokenizer = load_tokenizer(inputs["model"].path)
    quantized = quantizer.quantize(model)
    held, model = model.dtype, to_compute(model)
    scores = score_all(
        model, tokenizer, read_corpus(inputs["corpus"]), metrics, runtime.batch_tokens
    )
    rows = {name: dataclasses.asdict(score) for name, score in scores.items()}
    (work / FILE).write_text(
        json.dumps(rows, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    return {
        "quantizer": dataclasses.asdict(quantized),
        "weights": str(held).removeprefix("torch."),
        "compute": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "items": {name: len(score.per_item) for name, score in scores.items()},
    }


def score_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    metrics: Mapping[str, Metric],
    batch_tokens: int,
) -> dict[str, Score]:
    """The scores of all metrics by name; equal requests of several metrics are answered once."""
    requests = [request for metric in metrics.values() for request in metric.requests(corpus)]
    answers = answer(model, tokenizer, requests, batch_tokens=batch_tokens)
    return {name: metric.score(corpus, answers) for name, metric in metrics.items()}


def read(artifact: Artifact) -> dict[str, Score]:
    """The scores of a finished evaluate stage, by metric."""
    rows = json.loads((artifact.path / FILE).read_text(encoding="utf-8"))
    return {
        name: Score(**{**row, "per_item": tuple(row["per_item"]), "items": tuple(row["items"])})
        for name, row in rows.items()
    }
