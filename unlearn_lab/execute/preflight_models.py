"""Checks every model that a job names, before training."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from torch import nn

from unlearn_lab.config.build import Refused
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.data.used_texts import used_ids
from unlearn_lab.graph.cache import Cache, StageFailed
from unlearn_lab.graph.stage import Stage, distinct
from unlearn_lab.models.architecture import difference
from unlearn_lab.models.complete import Incomplete
from unlearn_lab.models.load import load_skeleton
from unlearn_lab.models.tokenizer import special_id
from unlearn_lab.plan.job_graph import Plan


def require_models(plan: Plan, cache: Cache) -> Path:
    """Builds the stages that import models; returns the base model's folder.

    Each compares its checkpoint's tensors with its config.json. Raises `Refused`, with the setting
    first, for an incomplete checkpoint, and for a retrain control whose architecture differs from
    the target's.
    """
    base = _realised(plan.base, "model.path", cache)
    for setting, stage in _named(plan):
        folder = _realised(stage, setting, cache)
        if setting == "model.retrain":
            _require_same(base, folder, stage.params["path"])
    return base


def require_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, corpus: Corpus
) -> None:
    """Raises `Refused` where a token that will be used has no row in the model's embedding.

    Args:
        model: a model without weights.
        tokenizer: its tokenizer.
        corpus: the texts that will be tokenized.
    """
    rows = cast("nn.Embedding", model.get_input_embeddings()).weight.shape[0]
    if max(tokenizer.get_vocab().values()) < rows:
        return
    for name in ("pad", "bos", "eos"):
        used = special_id(tokenizer, name)
        if used is not None and used >= rows:
            raise Refused(
                f"model.path: its {name} token has the id {used}, and the model's embedding has "
                f"{rows} rows; name a token with a smaller id in tokenizer_config.json, or give "
                "the model's own tokenizer (model.tokenizer)"
            )
    for text, ids in used_ids(corpus, tokenizer):
        if max(ids, default=0) >= rows:
            raise Refused(
                f"model.path: the text {text[:40]!r} has a token with the id {max(ids)}, and the "
                f"model's embedding has {rows} rows; give the model's own tokenizer "
                "(model.tokenizer)"
            )


def _named(plan: Plan) -> Iterator[tuple[str, Stage]]:
    """Yields the stages that import a finished model, with the setting that names each."""
    settings = {"target": "model.path", "retrain": "model.retrain"}
    if plan.unlearn.builder.startswith("unlearn_lab.models."):
        yield "method.path", plan.unlearn
    for stage in distinct([plan.record]).values():
        if stage.inputs:
            continue
        if stage.name in settings:
            yield settings[stage.name], stage
        elif stage.name == "quantize":
            (setting,) = stage.depends["files"]
            yield setting, stage


def _realised(stage: Stage, setting: str, cache: Cache) -> Path:
    try:
        return cache.get_or_build(stage).path
    except StageFailed as error:
        cause = error.__cause__
        if isinstance(cause, Incomplete):
            raise Refused(f"{setting}={cause}") from error
        if isinstance(cause, ValueError) and str(cause).startswith(("model.path=", setting)):
            raise Refused(str(cause).replace("model.path=", f"{setting}=", 1)) from error
        raise


def _require_same(base: Path, control: Path, place: str) -> None:
    found = difference(load_skeleton(base).config, load_skeleton(control).config)
    if found is not None:
        raise Refused(
            f"model.retrain={place}: {found}; the control must be the same model, trained without "
            "the forget set"
        )
