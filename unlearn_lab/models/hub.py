"""Provides a model from the Hugging Face hub or a local folder, to fine-tune or use unchanged."""

from dataclasses import dataclass
from pathlib import Path

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.models.source import Source
from unlearn_lab.plan.protocols import Outside


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A checkpoint by hub name or local folder.

    Attributes:
        path: hub name, folder or .gguf file (also one of an installed package,
            `pip:PACKAGE@VERSION/FILE`).
        revision: branch, tag or commit of `path`.
        tokenizer: hub name or folder of another tokenizer; None uses the checkpoint's.
        tokenizer_revision: branch, tag or commit of `tokenizer`.
        finetune: True trains the target (forget + retain) and the retrain control (retain only)
            from `path`; False takes `path` as the target.
        retrain: without `finetune`, the retrain control; None if there is none, and then scores of
            a model that never saw the forget set are unknown.
        retrain_revision: branch, tag or commit of `retrain`.
        trust_remote_code: runs Python code from the hub repository.
        sha256: the digest that the .gguf file must have; None for any.
    """

    path: str
    revision: str | None
    tokenizer: str | None
    tokenizer_revision: str | None
    finetune: bool
    retrain: str | None
    retrain_revision: str | None
    trust_remote_code: bool
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.finetune and self.retrain is not None:
            raise ValueError(
                f"retrain={self.retrain}: with model.finetune=true the control is trained "
                "here from model.path; set model.finetune=false to take model.path as the target"
            )

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The checkpoint and, if configured, the control and the tokenizer."""
        named = (("path", self.path), ("retrain", self.retrain), ("tokenizer", self.tokenizer))
        return tuple(
            Outside(
                kind="model",
                place=place,
                setting=setting,
                revision="revision" if setting == "path" else f"{setting}_revision",
                sha256=self.sha256 if setting == "path" else None,
            )
            for setting, place in named
            if place is not None
        )

    @property
    def libraries(self) -> tuple[str, ...]:
        """The library that reads .gguf files, where the checkpoint or the control is one."""
        named = (self.path, self.retrain or "")
        return ("gguf",) if any(place.endswith(".gguf") for place in named) else ()

    def write_base(self, folder: Path, corpus: Corpus, seed: int) -> dict[str, object]:
        """Writes a pointer to the checkpoint (see `BaseModel`), and the tokenizer of a .gguf file.

        Raises `ValueError` as `write_pointer` does.
        """
        source = Source(
            path=self.path,
            revision=self.revision,
            tokenizer=self.tokenizer,
            tokenizer_revision=self.tokenizer_revision,
            trust_remote_code=self.trust_remote_code,
        )
        from unlearn_lab.models.pointer import write_pointer

        return write_pointer(folder, source)
