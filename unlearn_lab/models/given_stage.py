"""Builds the stage of a model that was unlearned elsewhere: a checkpoint, or a merged adapter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.data.typed import PreTrainedTokenizerBase
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.adapter_merge import merge
from unlearn_lab.models.architecture import difference
from unlearn_lab.models.load import (
    inspect,
    load_model,
    load_skeleton,
    load_tokenizer,
    tokenizer_of,
)
from unlearn_lab.models.padding import require_padding
from unlearn_lab.models.pointer import point
from unlearn_lab.models.quantized import quant_method
from unlearn_lab.models.safe_files import file_of, weight_files
from unlearn_lab.models.same_tokens import token_difference
from unlearn_lab.models.source import Source
from unlearn_lab.models.stored import ADAPTER_WEIGHTS, adapter_settings, dtypes_in
from unlearn_lab.models.tokenizer import pad_id

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
_UNKNOWN = dict.fromkeys(
    ("epochs", "stopped", "arithmetic", "optimizer_state", "batch", "peak_gb"), None
)
"""Facts of a training that are not known of a model trained elsewhere."""


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: a pointer to the checkpoint, or the target with the adapter merged.

    Raises `ValueError`, which begins with `method.path`, for a checkpoint that is quantized, that
    is not the target's architecture and size, or whose weights its configuration does not describe
    (`load.inspect`); for an adapter that does not fit the target; and for a tokenizer that splits
    the corpus differently from the target's, unless each model is to use its own.

    Args:
        params: `path`, `revision` and `tokenizer` of `GivenModel`, the dtype `merge` of an
            adapter's sum, and `trust_remote_code`.
        inputs: the artifacts `target` and `corpus`.
        work: the folder to write to.
        runtime: not used.

    Returns:
        The facts: those of an unlearning, None where nothing is known; the dtypes in which the
        weights are stored, and the settings of the adapter.
    """
    path, revision = params["path"], params["revision"]
    target, corpus = inputs["target"].path, read_corpus(inputs["corpus"])
    settings = adapter_settings(path, revision)
    try:
        if settings is None:
            facts = _point(params, target, work)
        else:
            facts = {"adapter": _merge(params, settings, target, work)}
        _put_tokenizer(params, target, corpus, work)
    except ValueError as error:
        reason = str(error).removeprefix("model.path=").removeprefix(f"{path}: ")
        raise ValueError(f"method.path={path}: {reason}") from error
    stored = _stored(path, revision)
    return {
        **_UNKNOWN,
        "weights": f"unknown (stored in {', '.join(stored)})" if stored else "unknown",
        "optimizer": "unknown",
        "stored": stored,
        **facts,
    }


def _point(params: Mapping[str, Any], target: Path, work: Path) -> dict[str, object]:
    """Writes a pointer to a full checkpoint, and checks it against its files and the target."""
    point(work, _source(params))
    skeleton = load_skeleton(work)
    method = quant_method(skeleton.config)
    if method is not None:
        raise ValueError(
            f"this checkpoint is quantized ({method}); give the unlearned model in full precision "
            "here, and its quantized form as quant=prequantized quant.unlearned=FOLDER"
        )
    found = difference(load_skeleton(target).config, skeleton.config)
    if found is not None:
        raise ValueError(
            f"{found}; the unlearned model must have the target's architecture and sizes (if its "
            "embedding was resized, resize_token_embeddings to the target's vocab_size)"
        )
    inspect(work)
    require_padding(skeleton.config, trust_remote_code=params["trust_remote_code"])
    return {}


def _merge(
    params: Mapping[str, Any], settings: Mapping[str, Any], target: Path, work: Path
) -> dict[str, object]:
    """Writes the target with the adapter added to its weights; returns the facts on the adapter."""
    model = load_model(target, params["merge"])
    merged, library = merge(model, params["path"], params["revision"])
    merged.save_pretrained(work)
    return {
        "type": settings.get("peft_type"),
        "rank": settings.get("r"),
        "base": settings.get("base_model_name_or_path"),
        "merged_in": params["merge"],
        "library": library,
    }


def _put_tokenizer(params: Mapping[str, Any], target: Path, corpus: Corpus, work: Path) -> None:
    """Saves the tokenizer that this model is evaluated with.

    Raises `ValueError` where the target's is to be used and splits the corpus differently.
    """
    own = _own_tokenizer(params)
    if params["tokenizer"] == "own":
        if own is None:
            raise ValueError("has no tokenizer; method.tokenizer=target uses the target's")
        pad_id(own)
        own.save_pretrained(work)
        return
    theirs = load_tokenizer(target)
    found = None if own is None else token_difference(theirs, own, corpus)
    if found is not None:
        raise ValueError(
            f"{found}; method.tokenizer=own evaluates every model with its own tokenizer"
        )
    theirs.save_pretrained(work)


def _own_tokenizer(params: Mapping[str, Any]) -> PreTrainedTokenizerBase | None:
    """Returns the tokenizer that lies beside the weights; None if there is none."""
    path, revision = params["path"], params["revision"]
    if path.endswith(".gguf") or any(file_of(path, name, revision) for name in _TOKENIZERS):
        return tokenizer_of(_source(params))
    return None


def _source(params: Mapping[str, Any]) -> Source:
    return Source(
        path=params["path"],
        revision=params["revision"],
        tokenizer=None,
        tokenizer_revision=None,
        trust_remote_code=params["trust_remote_code"],
    )


def _stored(path: str, revision: str | None) -> list[str]:
    """Returns the dtypes in which the checkpoint's or adapter's weights are stored, sorted."""
    if path.endswith(".gguf"):
        return ["GGUF"]
    adapter = file_of(path, ADAPTER_WEIGHTS, revision)
    files = weight_files(path, revision) if adapter is None else [adapter]
    return sorted({dtype for file in files for dtype in dtypes_in(file)})
