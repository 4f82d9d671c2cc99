"""Settings of a model that was unlearned elsewhere, and of what is unknown about its training."""

from dataclasses import dataclass
from typing import Literal

from unlearn_lab.models.arithmetic import Arithmetic
from unlearn_lab.models.stored import adapter_settings
from unlearn_lab.plan.protocols import Outside

Held = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """The unlearned model, made outside unlearn_lab and evaluated as it is.

    Attributes:
        path: folder, .gguf file or hub name of a checkpoint, or of a PEFT adapter of the target.
        revision: branch, tag or commit of a hub name.
        tokenizer: `target` uses the target's, and refuses a checkpoint whose own splits the corpus
            differently; `own` evaluates every model with its own.
        merge: dtype in which an adapter is added to the target's weights; `auto`: that of
            `trainer.weights`.
    """

    path: str
    revision: str | None
    tokenizer: Literal["target", "own"]
    merge: Literal["auto", "fp32", "bf16"]

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The checkpoint or adapter."""
        return (Outside(kind="model", place=self.path, setting="path", revision="revision"),)

    @property
    def libraries(self) -> tuple[str, ...]:
        """The library that reads a .gguf file, or the one that merges an adapter."""
        if self.path.endswith(".gguf"):
            return ("gguf",)
        return ("peft",) if adapter_settings(self.path, self.revision) is not None else ()


@dataclass(frozen=True, kw_only=True)
class Holding:
    """How models are held and scored that are not trained here, in place of a trainer.

    Attributes:
        weights: dtype of the weights of all models.
        arithmetic: dtype of products.
    """

    weights: Held
    arithmetic: Arithmetic


@dataclass(frozen=True, kw_only=True)
class UnknownUpdate:
    """The optimizer of a model that was unlearned elsewhere.

    Attributes:
        lr: its learning rate, if known: then the share of weights that it cannot move is measured.
            Raises `ValueError` unless it is positive.
    """

    lr: float | None

    def __post_init__(self) -> None:
        if self.lr is not None and not self.lr > 0:
            raise ValueError(f"lr={self.lr}: must be above 0, or null if it is unknown")
