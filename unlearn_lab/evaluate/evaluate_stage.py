"""Builds the evaluate stage: scores one model, quantized on load if configured, on all metrics."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import read_corpus, read_remarks
from unlearn_lab.data.tokenise import text_ids
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
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
from unlearn_lab.evaluate.stored_scores import SCORES
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.arithmetic import evaluation_arithmetic
from unlearn_lab.models.device import device_of, peak_gb, require_bfloat16, reset_peak
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.plan.protocols import FullPrecision
from unlearn_lab.quantize.quantizer import AnyQuantizer, Quantizer


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact `scores.json`: a `Score` per metric for which the corpus has data.

    Args:
        params: the stage's parameters: `metrics`, `quant`, `weights` and `arithmetic`.
        inputs: the artifacts `corpus` and `model`, and `quantized` if a quantize stage has run.
        work: the folder to write to.
        runtime: `accelerator` selects the device; `batch_tokens` bounds a batch.

    Returns:
        The facts: what ran, the number of items per metric, why metrics were skipped, and remarks
        on the corpus.
    """
    require_bfloat16(params["arithmetic"], device_of(runtime.accelerator))
    reset_peak()
    metrics = {
        name: make(node, AnyMetric, f"eval.metrics.{name}")
        for name, node in params["metrics"].items()
    }
    corpus = read_corpus(inputs["corpus"])
    model, ran = _model(params, inputs, corpus, device_of(runtime.accelerator))
    tokenizer = load_tokenizer(inputs["model"].path)
    with evaluation_arithmetic(model, params["arithmetic"]):
        scores = score_all(model, tokenizer, corpus, metrics, runtime.batch_tokens)
    rows = {name: dataclasses.asdict(score) for name, score in scores.items()}
    (work / SCORES).write_text(
        json.dumps(rows, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    return {
        **ran,
        "arithmetic": params["arithmetic"],
        "device": str(model.device),
        "peak_gb": peak_gb(model.device.type),
        "items": {name: len(score.per_item) for name, score in scores.items()},
        "skipped": missing_metrics(metrics, corpus),
        "remarks": corpus_remarks(inputs["corpus"], metrics, tokenizer),
    }


def corpus_remarks(
    corpus: Artifact, metrics: Mapping[str, AnyMetric], tokenizer: PreTrainedTokenizerBase
) -> dict[str, str]:
    """Returns the remarks on a corpus, by kind, including true answers that no model can give.

    Args:
        corpus: the corpus artifact.
        metrics: the metrics by name.
        tokenizer: counts the tokens of true answers.
    """
    hopeless = hopeless_answers(
        metrics, read_corpus(corpus), lambda text: len(text_ids([text], tokenizer)[0])
    )
    return read_remarks(corpus) | ({} if hopeless is None else {"answers": hopeless})


def _model(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], corpus: Corpus, device: torch.device
) -> tuple[PreTrainedModel, dict[str, object]]:
    """Returns the model to score, and the facts on its quantization.

    The model is quantized here, or loaded from the quantize stage among the inputs. Its logits on
    holdout text are compared with those of the unquantized model.
    """
    source, quantizer = inputs["model"], make(params["quant"], AnyQuantizer, "quant")
    tokenizer, texts = load_tokenizer(source.path), corpus.unseen
    full, ran = None, dict[str, object]()
    kind = params["arithmetic"]
    if not isinstance(quantizer, FullPrecision):
        original = _load(source, params["weights"], device)
        with evaluation_arithmetic(original, kind):
            full = holdout_logits(original, tokenizer, texts)
        del original  # memory may suffice for only one model
    if "quantized" in inputs:
        model = _load(inputs["quantized"], params["weights"], device)
        report = inputs["quantized"].facts["quantizer"]
    else:
        model = _load(source, params["weights"], device)
        started = time.monotonic()
        report = dataclasses.asdict(cast("Quantizer", quantizer).quantize(model))
        ran["quantize_seconds"] = time.monotonic() - started
    ran |= {"quantizer": report, "weights": str(model.dtype).removeprefix("torch.")}
    with evaluation_arithmetic(model, kind):
        error = None if full is None else logit_error(holdout_logits(model, tokenizer, texts), full)
    ran["logit_error"] = error
    return model, ran


def _load(artifact: Artifact, weights: str, device: torch.device) -> PreTrainedModel:
    return cast("Any", load_model(artifact.path, weights)).to(device)


def score_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    metrics: Mapping[str, AnyMetric],
    batch_tokens: int,
) -> dict[str, Score]:
    """Scores all metrics for which the corpus has data, in their order, by name.

    Equal requests of several metrics are answered once.

    Args:
        model: the model, on its device.
        tokenizer: the model's tokenizer.
        corpus: the corpus.
        metrics: the metrics by name.
        batch_tokens: maximum number of tokens in a batch.
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
