"""The evaluate stage: one model, perhaps quantized on load, answers all metrics in one pass."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import read_corpus, read_remarks
from unlearn_lab.data.tokenise import text_ids
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.logits import holdout_logits, logit_error
from unlearn_lab.evaluate.metric import (
    AnyMetric,
    Metric,
    ModelMetric,
    Score,
    hopeless_answers,
    missing_metrics,
)
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.device import device_of, peak_gb, reset_peak
from unlearn_lab.models.load import load_model, load_tokenizer, to_compute
from unlearn_lab.plan.protocols import FullPrecision
from unlearn_lab.quantize.quantizer import AnyQuantizer, Quantizer

FILE = "scores.json"


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: `scores.json`, a `Score` per metric that the corpus can serve.

    The facts tell what really ran, and why which metric was skipped.
    """
    reset_peak()
    metrics = {
        name: make(node, AnyMetric, f"eval.metrics.{name}")
        for name, node in params["metrics"].items()
    }
    corpus = read_corpus(inputs["corpus"])
    model, ran = _model(params, inputs, corpus, device_of(runtime.accelerator))
    tokenizer = load_tokenizer(inputs["model"].path)
    scores = score_all(model, tokenizer, corpus, metrics, runtime.batch_tokens)
    rows = {name: dataclasses.asdict(score) for name, score in scores.items()}
    (work / FILE).write_text(
        json.dumps(rows, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    return {
        **ran,
        "compute": _spell(model.dtype),
        "device": str(model.device),
        "peak_gb": peak_gb(model.device.type),
        "items": {name: len(score.per_item) for name, score in scores.items()},
        "skipped": missing_metrics(metrics, corpus),
        "remarks": corpus_remarks(inputs["corpus"], metrics, tokenizer),
    }


def corpus_remarks(
    corpus: Artifact, metrics: Mapping[str, AnyMetric], tokenizer: PreTrainedTokenizerBase
) -> dict[str, str]:
    """The remarks on a corpus with these metrics and this tokenizer, by kind."""
    hopeless = hopeless_answers(
        metrics, read_corpus(corpus), lambda text: len(text_ids([text], tokenizer)[0])
    )
    return read_remarks(corpus) | ({} if hopeless is None else {"answers": hopeless})


def _model(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], corpus: Corpus, device: torch.device
) -> tuple[PreTrainedModel, dict[str, object]]:
    """The model to score, and what its quantizer did to it.

    It is quantized here, or loaded as the quantize stage among the inputs left it. Its logits on
    holdout text are compared with those of the model it was made from.
    """
    source, quantizer = inputs["model"], make(params["quant"], AnyQuantizer, "quant")
    tokenizer, texts = load_tokenizer(source.path), corpus.holdout_documents
    full, ran = None, dict[str, object]()
    if not isinstance(quantizer, FullPrecision):
        original = to_compute(_load(source, params["weights"], device))
        full = holdout_logits(original, tokenizer, texts)
        del original  # there may be room for one model only
    if "quantized" in inputs:
        model = _load(inputs["quantized"], params["weights"], device)
        report = inputs["quantized"].facts["quantizer"]
    else:
        model = _load(source, params["weights"], device)
        started = time.monotonic()
        report = dataclasses.asdict(cast("Quantizer", quantizer).quantize(model))
        ran["quantize_seconds"] = time.monotonic() - started
    storage_dtype, model = model.dtype, to_compute(model)
    error = None if full is None else logit_error(holdout_logits(model, tokenizer, texts), full)
    ran |= {"quantizer": report, "logit_error": error, "weights": _spell(storage_dtype)}
    return model, ran


def _load(artifact: Artifact, weights: str, device: torch.device) -> PreTrainedModel:
    return cast("Any", load_model(artifact.path, weights)).to(device)


def _spell(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def score_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    metrics: Mapping[str, AnyMetric],
    batch_tokens: int,
) -> dict[str, Score]:
    """The scores by name of all metrics that the corpus can serve, in their order.

    Equal requests of several metrics are answered once.
    """
    served = metrics.keys() - missing_metrics(metrics, corpus).keys()
    asking = {
        name: metric
        for name, metric in metrics.items()
        if name in served and isinstance(metric, Metric)
    }
    requests = [request for metric in asking.values() for request in metric.requests(corpus)]
    answers = answer(model, tokenizer, requests, batch_tokens=batch_tokens)
    scores = {name: metric.score(corpus, answers) for name, metric in asking.items()}
    for name, metric in metrics.items():
        if name in served and isinstance(metric, ModelMetric):
            scores[name] = metric.measure(model, tokenizer, batch_tokens)
    return {name: scores[name] for name in metrics if name in served}


def read_scores(artifact: Artifact) -> dict[str, Score]:
    """The scores of a finished evaluate stage, by metric."""
    rows = json.loads((artifact.path / FILE).read_text(encoding="utf-8"))
    return {
        name: Score(**{**row, "per_item": tuple(row["per_item"]), "items": tuple(row["items"])})
        for name, row in rows.items()
    }
