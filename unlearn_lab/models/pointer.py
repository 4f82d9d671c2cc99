"""Writes pointers to checkpoints, which are checked and stay where they are."""

import dataclasses
import json
from pathlib import Path

from unlearn_lab.models.load import inspect, load_skeleton, load_tokenizer
from unlearn_lab.models.padding import require_padding
from unlearn_lab.models.source import POINTER, Source
from unlearn_lab.models.tokenizer import pad_id


def write_pointer(folder: Path, source: Source) -> dict[str, object]:
    """Writes a pointer to a checkpoint into `folder`, checks the checkpoint, and returns its facts.

    Beside it lies the tokenizer of a .gguf file, which takes seconds to read. Raises
    `ValueError` if its weights do not match its configuration (`load.inspect`), its answers depend
    on padding, or its tokenizer cannot be loaded or has no padding token.
    """
    point(folder, source)
    inspect(folder)
    require_padding(load_skeleton(folder).config, trust_remote_code=source.trust_remote_code)
    tokenizer = load_tokenizer(folder)
    pad_id(tokenizer)
    if source.path.endswith(".gguf") and source.tokenizer is None:
        tokenizer.save_pretrained(folder)
    return {"path": source.path, "revision": source.revision, "vocabulary": len(tokenizer)}


def point(folder: Path, source: Source) -> None:
    """Writes a pointer to a checkpoint into `folder`, unchecked."""
    (folder / POINTER).write_text(json.dumps(dataclasses.asdict(source)), encoding="utf-8")
