"""A model from the Hugging Face hub or a local folder, to fine-tune or to take as it is."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.models.load import POINTER, Source, inspect, load_skeleton, load_tokenizer
from unlearn_lab.models.padding import require_padding
from unlearn_lab.models.tokenizer import pad_id
from unlearn_lab.plan.protocols import Outside


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A checkpoint by hub name or local folder.

    With `finetune` it is the starting point from which the target (forget + retain) and the retrain
    control (retain only) are trained; without, `path` is the target and `retrain` the control, null
    where there is none: then nothing can be said about what a model that never knew would score.
    `tokenizer` is another place to take the tokenizer from, null for the checkpoint's own. Each
    revision is a branch, tag or commit on the hub.
    """

    path: str
    revision: str | None
    tokenizer: str | None
    tokenizer_revision: str | None
    finetune: bool
    retrain: str | None
    retrain_revision: str | None
    trust_remote_code: bool

    def __post_init__(self) -> None:
        if self.finetune and self.retrain is not None:
            raise ValueError(
                f"retrain={self.retrain}: with model.finetune=true the control is trained "
                "here from model.path; set model.finetune=false to take model.path as the target"
            )

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The checkpoint, the control's and the tokenizer's, as far as they are named."""
        named = (("path", self.path), ("retrain", self.retrain), ("tokenizer", self.tokenizer))
        return tuple(
            Outside(
                kind="model",
                place=place,
                setting=setting,
                revision="revision" if setting == "path" else f"{setting}_revision",
            )
            for setting, place in named
            if place is not None
        )

    def write_base(self, folder: Path, corpus: Corpus, seed: int) -> dict[str, object]:
        """Writes a pointer to the checkpoint; nothing is copied.

        Raises `ValueError` when its tokenizer cannot be loaded.
        """
        source = Source(
            path=self.path,
            revision=self.revision,
            tokenizer=self.tokenizer,
            tokenizer_revision=self.tokenizer_revision,
            trust_remote_code=self.trust_remote_code,
        )
        return write_pointer(folder, source)


def write_pointer(folder: Path, source: Source) -> dict[str, object]:
    """Makes `folder` stand for a checkpoint that lies elsewhere, once it has been looked into.

    Raises `ValueError` where its weights are not those of its configuration (`load.inspect`), its
    answers depend on padding, or its tokenizer has no padding token.
    """
    point(folder, source)
    inspect(folder)
    require_padding(load_skeleton(folder).config, trust_remote_code=source.trust_remote_code)
    tokenizer = load_tokenizer(folder)
    pad_id(tokenizer)
    return {"path": source.path, "revision": source.revision, "vocabulary": len(tokenizer)}


def point(folder: Path, source: Source) -> None:
    """Makes `folder` stand for a checkpoint that lies elsewhere."""
    (folder / POINTER).write_text(json.dumps(dataclasses.asdict(source)), encoding="utf-8")
