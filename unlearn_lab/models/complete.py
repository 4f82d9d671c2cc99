"""Whether a model holds the weights of its checkpoint: all of them, finite, and none invented."""

import contextlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from unlearn_lab.models.safe_files import weight_files

_WRAPPERS = {
    "_orig_mod": "torch.compile leaves _orig_mod in names: save model._orig_mod",
    "module": "DistributedDataParallel leaves module in names: save model.module",
    "_fsdp_wrapped_module": "FSDP leaves _fsdp_wrapped_module in names: save the unwrapped model",
    "_forward_module": "Fabric and DeepSpeed leave _forward_module in names: save the inner model",
    "base_model": "PEFT leaves base_model in names: merge_and_unload() the adapter, then save",
}
"""What puts a part into tensors' names, and the way out."""


class Incomplete(ValueError):
    """A checkpoint does not hold the weights of the model that its config.json describes.

    The message is one line and begins with the checkpoint's place.
    """


def require_complete(
    model: PreTrainedModel, report: Mapping[str, Any], path: str, stored: Mapping[str, Path]
) -> None:
    """Compares a model that `from_pretrained` made with its checkpoint.

    `report` is the loading report, `stored` the tensors in the files (`tensor_files`; empty for a
    quantized checkpoint, whose tensors go by other names). Raises `Incomplete` for tensors that are
    missing, left over or of another shape.
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
    """The same for a model that was loaded."""
    weights = model.named_parameters()
    found = [name for name, weight in weights if not torch.isfinite(weight).all()]
    if found:
        raise Incomplete(f"{path}: holds weights that are NaN or infinite ({_named(found)})")


def tensor_files(path: str, revision: str | None) -> dict[str, Path]:
    """The file of each tensor of a checkpoint, by the files' own headers, not their index."""
    stored = dict[str, Path]()
    for file in weight_files(path, revision):
        with safe_open(file, framework="pt") as stream:
            stored |= dict.fromkeys(stream.keys(), file)
    return stored


@contextlib.contextmanager
def without_load_report() -> Iterator[None]:
    """Keeps transformers' table of the tensors that do not fit out of the log: ours names them."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_no_table)
    try:
        yield
    finally:
        logger.removeFilter(_no_table)


def _no_table(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()


def _hidden(model: PreTrainedModel, stored: Collection[str]) -> set[str]:
    """Parameters that the files lack, and that the architecture keeps out of the report."""
    patterns = model._keys_to_ignore_on_load_missing or ()
    if not stored or not patterns:
        return set()
    names = {name for name, _ in model.named_parameters()}  # of tied ones the first alone
    found = {*stored, *(f"{model.base_model_prefix}.{name}" for name in stored)}
    return {name for name in names - found if any(re.search(one, name) for one in patterns)}


def _refuse(
    path: str, missing: Collection[str], unexpected: Collection[str], mismatched: Collection[str]
) -> None:
    faults = [
        f"{len(names)} {what} ({_named(names)})"
        for names, what in (
            (missing, "tensors are missing"),
            (unexpected, "tensors are of no use to the model"),
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
    """An output embedding of its own in the files stays one, though config.json says tied.

    transformers leaves such a head alone, with a warning; said to be untied, it is saved as it is.
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
    """Up to three of them."""
    first = sorted(names)[:3]
    return ", ".join(first) + (", ..." if len(names) > 3 else "")
