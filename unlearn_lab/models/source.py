"""Where a checkpoint and its tokenizer are."""

from dataclasses import dataclass

POINTER = "pointer.json"
"""The file that stands for a checkpoint elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Location of a checkpoint and its tokenizer.

    Attributes:
        path: hub name, folder or .gguf file of the checkpoint.
        revision: branch, tag or commit of `path`; None is main.
        tokenizer: hub name or folder of another tokenizer; None uses the checkpoint's.
        tokenizer_revision: branch, tag or commit of `tokenizer`; None is main.
        trust_remote_code: runs Python code from the checkpoint.
    """

    path: str
    revision: str | None
    tokenizer: str | None
    tokenizer_revision: str | None
    trust_remote_code: bool
