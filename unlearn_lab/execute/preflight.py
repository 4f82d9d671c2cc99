"""Preflight: refuses impossible requests before training; compares parts, corpus and model."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from unlearn_lab.config.build import Refused, placed
from unlearn_lab.config.once import OncePerProcess
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.answer import encode_requests
from unlearn_lab.evaluate.evaluate_stage import corpus_remarks
from unlearn_lab.evaluate.harness import HarnessTask
from unlearn_lab.evaluate.metric import Metric, missing_metrics
from unlearn_lab.execute.parts import Parts, Training
from unlearn_lab.execute.preflight_memory import measure, require_memory
from unlearn_lab.execute.preflight_models import require_models, require_rows
from unlearn_lab.execute.preflight_scoring import forecast_scoring
from unlearn_lab.execute.watching import PATH
from unlearn_lab.graph.cache import Artifact, Cache, StageFailed
from unlearn_lab.graph.stage import Stage
from unlearn_lab.models.linears import choose_trainable, trained_parameters
from unlearn_lab.models.load import load_skeleton, load_tokenizer
from unlearn_lab.models.quantized import quant_method
from unlearn_lab.plan.corpora import fold_of
from unlearn_lab.plan.job_graph import Plan
from unlearn_lab.quantize.export_stage import require_exportable
from unlearn_lab.quantize.quantizer import CalibratedQuantizer
from unlearn_lab.unlearn.optimizers.update import UpdateContext

_log = logging.getLogger(__name__)
_log.addFilter(OncePerProcess())


def compare_sizes(parts: Parts, plan: Plan, cache: Cache, runtime: Runtime) -> None:
    """Compares the parts with the corpus and the model, both built here (seconds, cached).

    Raises `Refused` for batches larger than a split, shapes that do not fit the quantizer's groups,
    a metric that the stop rule needs and that is missing, a corpus without a usable metric, texts
    longer than the model's positions, and a training that needs more memory than is free.

    Args:
        parts: the configured parts.
        plan: the job's graph.
        cache: builds the corpus, the models and the calibration set.
        runtime: where and how trainings run.
    """
    whole = cache.get_or_build(plan.corpora.whole)
    corpus = read_corpus(whole)
    _compare_metrics(corpus, parts)
    base = require_models(plan, cache)
    skeleton, tokenizer = load_skeleton(base), load_tokenizer(base)
    _require_plain(skeleton)
    require_rows(skeleton, tokenizer, corpus)
    for remark in corpus_remarks(whole, parts.measured, tokenizer).values():
        _log.warning("corpus: %s", remark)
    try:
        parts.quant.value.require_fit(skeleton)
    except ValueError as error:
        raise Refused(placed(error, "quant")) from error
    try:
        require_exportable(parts.quant.value, parts.export, skeleton, tokenizer)
    except ValueError as error:  # its messages already begin with the full setting path
        raise Refused(placed(error, "export").removeprefix("export.")) from error
    _compare_with_positions(corpus, parts, skeleton, tokenizer, finetunes=plan.finetunes)
    _require_tasks(parts, base)
    if plan.finetunes:
        _compare_with_finetuning(plan, parts, cache)
    if plan.calibration is not None:
        _draw_calibration(plan.calibration, cache)
    if parts.training is not None:
        _compare_with_training(plan, parts.training, skeleton, cache)
    else:
        _compare_dtypes(cache.get_or_build(plan.unlearn), parts.trainer.value.weights)
        forecast_scoring(parts, plan, skeleton, tokenizer, corpus, runtime)
    require_memory(parts, plan, cache, skeleton.config, runtime)


def _compare_dtypes(given: Artifact, weights: str) -> None:
    """Warns where the given model is held in fewer bits than it is stored in."""
    stored = cast("Sequence[str]", given.facts["stored"])
    if weights == "bf16" and set(stored) - {"bf16"} and "adapter" not in given.facts:
        _log.warning(
            "method.path: stored in %s and held in bf16, which loses changes below half a spacing; "
            "trainer.weights=fp32 keeps all of them",
            ", ".join(stored),
        )


def _compare_with_training(
    plan: Plan, training: Training, skeleton: PreTrainedModel, cache: Cache
) -> None:
    """Compares adapter, batches and update rule with the model and the corpora to unlearn."""
    trainer = training.trainer
    if trainer.adapter is not None:
        try:
            trainer.adapter.require_fit(skeleton)
        except ValueError as error:
            raise Refused(placed(error, "trainer.adapter")) from error
    if training.watch is not None:
        try:
            training.watch.quant.require_fit(skeleton)
        except ValueError as error:
            raise Refused(placed(error, f"{PATH}.quant")) from error
    choose_trainable(skeleton, trainer.trainable)
    counts = [_compare_with_split(step, plan, training, cache) for step in plan.corpora.steps]
    asked = UpdateContext(
        model=skeleton,
        parameters=trained_parameters(skeleton),
        num_batches=-(-min(counts) // trainer.batch_size),
        rounding=trainer.rounding,
    )
    try:
        training.optimizer.require_fit(asked)
    except ValueError as error:
        raise Refused(placed(error, "optimizer")) from error


def _require_tasks(parts: Parts, base: Path) -> None:
    """Raises `Refused` for tasks that lm-eval does not know or cannot load."""
    for name, metric in parts.measured.items():
        if isinstance(metric, HarnessTask):
            try:
                metric.require_fit(base)
            except ValueError as error:
                raise Refused(placed(error, f"eval.metrics.{name}")) from error


def _draw_calibration(stage: Stage, cache: Cache) -> None:
    """Builds the calibration set; raises `Refused` for too little text."""
    try:
        cache.get_or_build(stage)
    except StageFailed as error:
        if isinstance(error.__cause__, ValueError):
            message = str(error.__cause__)
            if not message.startswith("generic_text."):
                message = placed(error.__cause__, "quant.calibration")
            raise Refused(message) from error
        raise


def _require_plain(skeleton: PreTrainedModel) -> None:
    method = quant_method(skeleton.config)
    if method is not None:
        raise Refused(
            f"model.path: this checkpoint is quantized ({method}), so it cannot be trained; give "
            "the model in full precision (quantized unlearned models: quant=prequantized)"
        )


def _compare_with_positions(
    corpus: Corpus,
    parts: Parts,
    skeleton: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    finetunes: bool,
) -> None:
    positions = getattr(skeleton.config.get_text_config(), "max_position_embeddings", None)
    for path, length in (
        *(
            [("trainer.max_length", parts.training.trainer.max_length)]
            if parts.training is not None
            else []
        ),
        *([("finetune.max_length", parts.finetune.value.max_length)] if finetunes else []),
        *(
            [("quant.calibration.length", parts.quant.value.calibration.length)]
            if isinstance(parts.quant.value, CalibratedQuantizer)
            else []
        ),
    ):
        if positions is not None and length > positions:
            raise Refused(
                f"{path}={length}: the model has {positions} positions; choose at most that"
            )
    missing = missing_metrics(parts.measured, corpus)
    for name, metric in parts.measured.items():
        if name in missing or not isinstance(metric, Metric):
            continue
        try:
            encode_requests(skeleton, tokenizer, metric.requests(corpus))
        except ValueError as error:
            raise Refused(f"eval.metrics.{name}: {error}") from error


def _compare_metrics(corpus: Corpus, parts: Parts) -> None:
    missing = missing_metrics(parts.measured, corpus)
    if parts.measured and missing.keys() == parts.measured.keys():
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        advice = "; for questions and answers use eval=questions" if corpus.probes else ""
        raise Refused(f"eval.metrics: nothing can be measured ({reasons}){advice}")
    stop = None if parts.training is None else parts.training.trainer.stop
    for name in () if stop is None else stop.needs_metrics:
        if name not in parts.measured:
            raise Refused(f"trainer.stop: needs eval.metrics.{name}, which is not configured")
        if name in missing:
            raise Refused(
                f"trainer.stop: needs {name}, which cannot be measured: {missing[name]}; "
                "use trainer/stop=fixed"
            )


def _compare_with_split(step: Stage, plan: Plan, training: Training, cache: Cache) -> int:
    """Compares one unlearning step with the trainer; returns its number of forget sequences."""
    trainer = training.trainer
    corpus = read_corpus(cache.get_or_build(step))
    for role in training.method.roles:
        if not corpus.texts(role):
            raise Refused(f"dataset: its {role} split is empty, and method needs it")
    count = measure(cache, step, plan.base, "forget", trainer).count
    fold = fold_of(step)
    what = "the forget set" if fold is None else f"fold {fold} of the forget set"
    _require_batch("trainer", trainer.batch_size, count, what)
    return count


def _compare_with_finetuning(plan: Plan, parts: Parts, cache: Cache) -> None:
    whole, finetune = plan.corpora.whole, parts.finetune.value
    count = measure(cache, whole, plan.base, "retain", finetune).count
    what = "the retain set, which the retrain control is trained on,"
    _require_batch("finetune", finetune.batch_size, count, what)


def _require_batch(path: str, batch_size: int, count: int, what: str) -> None:
    if batch_size > count:
        raise Refused(
            f"{path}.batch_size={batch_size}: {what} has {count} sequences of at most "
            f"{path}.max_length tokens; choose at most that"
        )
