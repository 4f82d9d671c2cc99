"""A model from the Hugging Face hub or a local folder, to fine-tune or to take as it is."""

import json
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.models.load import POINTER, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A checkpoint by hub name or local folder.

    With `finetune` it is the starting point from which the target (forget + retain) and the retrain
    control (retain only) are trained; without, `path` is the target and `retrain` the control.
    `revision` is a branch, tag or commit on the hub.
    """

    path: str
    revision: str | None
    finetune: bool
    retrain: str | None
    retrain_revision: str | None
    trust_remote_code: bool

    def __post_init__(self) -> None:
        if not self.finetune and self.retrain is None:
            raise ValueError(
                "retrain=null: with model.finetune=false give the control trained without the "
                "forget set (a hub name or folder), or set model.finetune=true to train target "
                "and control from model.path"
            )

    def write_base(self, folder: Path, corpus: Corpus, seed: int) -> dict[str, object]:
        """Writes a pointer to the checkpoint; nothing is copied.

        Raises `ValueError` when its tokenizer cannot be loaded.
        """
        return write_pointer(folder, self.path, self.revision, self.trust_remote_code)


def write_pointer(
    folder: Path, path: str, revision: str | None, trust_remote_code: bool
) -> dict[str, object]:
    """Makes `folder` stand for a checkpoint that lies elsewhere, whose tokenizer must load.

    Raises `ValueError` when it does not.
    """
    point(folder, path, revision, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(folder)
    return {"path": path, "revision": revision, "vocabulary": len(tokenizer)}


def point(folder: Path, path: str, revision: str | None, *, trust_remote_code: bool) -> None:
    """Makes `folder` stand for a checkpoint that lies elsewhere."""
    pointer = {"path": path, "revision": revision, "trust_remote_code": trust_remote_code}
    (folder / POINTER).write_text(json.dumps(pointer), encoding="utf-8")
