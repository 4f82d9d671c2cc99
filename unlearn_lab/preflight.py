"""Refuses impossible requests before anything is trained: builds every node, compares sizes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from unlearn_lab.build import Refused, build, build_partial
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stage import CorpusSource
from unlearn_lab.data.stage import read as read_corpus
from unlearn_lab.evaluate.metric import Metric
from unlearn_lab.graph.cache import Cache
from unlearn_lab.models.load import device_of, load_skeleton
from unlearn_lab.models.stage import BaseModel
from unlearn_lab.plan import Plan
from unlearn_lab.quantize.quantizer import Quantizer
from unlearn_lab.report.verdict import Thresholds
from unlearn_lab.report.wandb_sink import check_settings
from unlearn_lab.settings import Report, Runtime
from unlearn_lab.unlearn.objective import Objective
from unlearn_lab.unlearn.train import FineTuning, UnlearningTraining

Config = Mapping[str, Any]


def preflight(config: Config, plan: Plan, cache: Cache) -> None:
    """Raises `Refused` with one line: configuration path, value, what is allowed.

    Builds the corpus and the base model (seconds, cached), so that sizes are compared with what is
    really there.
    """
    build(config["dataset"], CorpusSource, "dataset")
    build(config["model"], BaseModel, "model")
    objective = build(config["method"], Objective, "method")
    build_partial(config["optimizer"], "optimizer", given=("params",))
    trainer = build(
        {k: v for k, v in config["trainer"].items() if k != "finetune"},
        UnlearningTraining,
        "trainer",
    )
    finetune = build(config["trainer"]["finetune"], FineTuning, "trainer.finetune")
    quantizer = build(config["quant"], Quantizer, "quant")
    for name, node in config["eval"]["metrics"].items():
        build(node, Metric, f"eval.metrics.{name}")
    smallest = config["eval"]["recovery"]["smallest_denominator"]
    if not smallest > 0:
        raise Refused(f"eval.recovery.smallest_denominator={smallest}: must be above 0 (points)")
    corpus = read_corpus(cache.realise(plan.corpus))
    _compare_with_corpus(corpus, objective, trainer, finetune)
    skeleton = load_skeleton(cache.realise(plan.base).path)
    try:
        quantizer.require_fit(skeleton)
    except ValueError as error:
        raise Refused(f"quant.{error}") from error


def require_possible(runtime: Runtime, report: Report) -> None:
    """Raises `ValueError` for settings of where to run and what to show that no machine could meet."""
    names = ("devices", "batch_tokens", "claim_beat", "claim_look", "claim_silence")
    for name in names:
        if getattr(runtime, name) <= 0:
            raise Refused(f"runtime.{name}={getattr(runtime, name)}: must be above 0")
    if runtime.threads is not None and runtime.threads < 1:
        raise Refused(f"runtime.threads={runtime.threads}: must be at least 1, or null")
    try:
        torch.empty(0, device=device_of(runtime.accelerator))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise Refused(
            f"runtime.accelerator={runtime.accelerator}: {reason}; use auto, cpu or gpu"
        ) from error
    Thresholds(**dataclasses.asdict(report.thresholds))
    check_settings(report.wandb)


def _compare_with_corpus(
    corpus: Corpus, objective: Objective, trainer: UnlearningTraining, finetune: FineTuning
) -> None:
    for role in objective.roles:
        if not getattr(corpus, role):
            raise Refused(f"dataset: its {role} split is empty, and method needs it")
    if trainer.batch_size > len(corpus.forget):
        raise Refused(
            f"trainer.batch_size={trainer.batch_size}: the forget set has {len(corpus.forget)} "
            "texts; choose at most that"
        )
    if finetune.batch_size > len(corpus.retain):
        raise Refused(
            f"trainer.finetune.batch_size={finetune.batch_size}: the retain set, which the retrain "
            f"control is trained on, has {len(corpus.retain)} texts; choose at most that"
        )
