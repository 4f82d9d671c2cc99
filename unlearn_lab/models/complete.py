"""Checks that a model's weights are those of its checkpoint: all of them, finite, none added."""

import contextlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.safe_files import weight_files

_WRAPPERS = {
    "_orig_mod": "torch.compile leaves _orig_mod in names: save model._orig_mod",
    "module": "DistributedDataParallel leaves module in names: save model.module",
    "_fsdp_wrapped_module": "FSDP leaves _fsdp_wrapped_module in names: save the unwrapped model",
    "_forward_module": "Fabric and DeepSpeed leave _forward_module in names: save the inner model",
    "base_model": "PEFT leaves base_model in names: merge_and_unload() the adapter, then save",
}
"""Wrappers that add a part to tensor names, and what to do about each."""


class Incomplete(ValueError):
    """The weights of a checkpoint do not match its config.json, or are not finite.

    The message is one line and begins with the checkpoint's path.
    """


def require_complete(
    model: PreTrainedModel, report: Mapping[str, Any], path: str, stored: Mapping[str, Path]
) -> None:
    """Compares a model from `from_pretrained` with its checkpoint.

    Args:
        model: the loaded model.
        report: its loading info.
        path: the checkpoint, for messages.
        stored: file of each tensor (`tensor_files`); empty for a quantized checkpoint, whose
            tensors have other names.

    Raises:
        Incomplete: tensors are missing, unexpected or of another shape, or config.json ties an
            output embedding that differs from the input embedding.
    """
    missing = {*report["missing_keys"], *_hidden(model, stored)}
    mismatched = [name for name, *_ in report["mismatched_keys"]]
    _refuse(path, missing, report["unexpected_keys"], mismatched)
    _keep_head(model, stored, path)


def require_finite(stored: Mapping[str, Path], path: str) -> None:
    """Raises `Incomplete` for tensors that are NaN or infinite; reads one tensor at a time."""
    found = list[str]()
    for file in sorted(set(stored.values())):
        with safe_open(file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118, no mapping
                tensor = stream.get_tensor(name)
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    found.append(name)
    if found:
        raise Incomplete(f"{path}: holds weights that are NaN or infinite ({_named(found)})")


def require_finite_weights(model: PreTrainedModel, path: str) -> None:
    """Raises `Incomplete` for a loaded model with weights that are NaN or infinite."""
    weights = model.named_parameters()
    found = [name for name, weight in weights if not torch.isfinite(weight).all()]
    if found:
        raise Incomplete(f"{path}: holds weights that are NaN or infinite ({_named(found)})")


def tensor_files(path: str, revision: str | None) -> dict[str, Path]:
    """Returns the file of each tensor, from the headers of the files instead of their index."""
    stored = dict[str, Path]()
    for file in weight_files(path, revision):
        with safe_open(file, framework="pt") as stream:
            stored |= dict.fromkeys(stream.keys(), file)
    return stored


@contextlib.contextmanager
def without_load_report() -> Iterator[None]:
    """Filters transformers' load report out of the log; `Incomplete` names the same tensors."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_no_table)
    try:
        yield
    finally:
        logger.removeFilter(_no_table)


def _no_table(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()


def _hidden(model: PreTrainedModel, stored: Collection[str]) -> set[str]:
    """Returns missing parameters that the architecture excludes from the loading report."""
    patterns = model._keys_to_ignore_on_load_missing or ()
    if not stored or not patterns:
        return set()
    names = {name for name, _ in model.named_parameters()}  # tied ones once
    found = {*stored, *(f"{model.base_model_prefix}.{name}" for name in stored)}
    return {name for name in names - found if any(re.search(one, name) for one in patterns)}


def _refuse(
    path: str, missing: Collection[str], unexpected: Collection[str], mismatched: Collection[str]
) -> None:
    faults = [
        f"{len(names)} {what} ({_named(names)})"
        for names, what in (
            (missing, "tensors are missing"),
            (unexpected, "tensors are unexpected"),
            (mismatched, "tensors have another shape"),
        )
        if names
    ]
    if not faults:
        return
    parts = [set(name.split(".")) for name in unexpected]
    wrapper = next(
        (out for part, out in _WRAPPERS.items() if any(part in at for at in parts)), None
    )
    wrapper = wrapper if missing else None
    advice = wrapper or "config.json and the weights must be of the same model"
    raise Incomplete(f"{path}: {'; '.join(faults)}; {advice}")


def _keep_head(model: PreTrainedModel, stored: Mapping[str, Path], path: str) -> None:
    """Keeps a separate output embedding although config.json sets `tie_word_embeddings`.

    transformers leaves such a head untied, with a warning; the corrected config makes it save both.
    Raises `Incomplete` if transformers tied weights that differ in the files.
    """
    if not getattr(model.config, "tie_word_embeddings", False):
        return
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None:
        return
    if head.weight is not embedding.weight:
        model.config.tie_word_embeddings = False
        return
    names = [f"{_name(model, layer)}.weight" for layer in (head, embedding)]
    if all(name in stored for name in names) and not _equal(stored, *names):
        raise Incomplete(
            f"{path}: config.json says tie_word_embeddings, but {names[0]} differs from "
            f"{names[1]}; set tie_word_embeddings to false there"
        )


def _name(model: nn.Module, layer: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is layer)


def _equal(stored: Mapping[str, Path], first: str, second: str) -> bool:
    tensors = list[torch.Tensor]()
    for name in (first, second):
        with safe_open(stored[name], framework="pt") as stream:
            tensors.append(stream.get_tensor(name))
    return torch.equal(*tensors)


def _named(names: Collection[str]) -> str:
    """Joins up to three of the names."""
    first = sorted(names)[:3]
    return ", ".join(first) + (", ..." if len(names) > 3 else "")
