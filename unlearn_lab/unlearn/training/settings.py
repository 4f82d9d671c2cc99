"""How models are trained: the settings of `finetune` and `trainer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unlearn_lab.data.batch import Pairing
from unlearn_lab.data.tokenise import Chunking
from unlearn_lab.models.linears import Trainable
from unlearn_lab.unlearn.training.adapter import Adapter
from unlearn_lab.unlearn.training.stop import StopRule

Weights = Literal["fp32", "bf16"]
Rounding = Literal["nearest", "stochastic"]


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How target and retrain control are trained: with equally many optimizer steps.

    AdamW with linear warm-up and a cosine to `floor` x lr; `batch_size` in sequences, `max_length`
    in tokens; `chunking` as in `UnlearningTraining`.
    """

    weights: Weights
    steps: int
    batch_size: int
    max_length: int
    chunking: Chunking
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    clip_norm: float | None
    warmup_steps: int
    floor: float

    def __post_init__(self) -> None:
        _require_positive(self, ("steps", "batch_size", "max_length", "lr"))


@dataclass(frozen=True, kw_only=True)
class UnlearningTraining:
    """How unlearning is trained: constant learning rate, one pass over the forget set an epoch.

    `weights` says in which dtype weights and gradients are held, and `rounding` how an updated
    weight becomes one of it:

    - `fp32`: weights, gradients and optimizer state in float32.
    - `bf16`, `nearest`: all three in bfloat16, as in the reference code. A step below half a
      weight's spacing is lost, so at small lr most weights cannot move, and AdamW's second moment
      never decays (0.999 v rounds back to v).
    - `bf16`, `stochastic`: weights and gradients in bfloat16, optimizer state in float32: a small
      step moves a weight seldom, but by its size on average. While it trains, a float32 copy of the
      trained weights is held: with AdamW on all of a 7B model more than 80 GB, with SURE a fraction
      of that.

    `trainable` says which parameters take part; with an `adapter` its own do instead, in float32,
    and are merged into weights held as `weights` says. `batch_size` counts forget sequences of at
    most `max_length` tokens, each paired with a retain sequence as `pairing` says
    (`data.batch.PairedOrder`). `chunking`: every text by itself, or all of a split as one `stream`.
    """

    weights: Weights
    rounding: Rounding
    epochs: int
    batch_size: int
    max_length: int
    chunking: Chunking
    pairing: Pairing
    clip_norm: float | None
    trainable: Trainable
    adapter: Adapter | None
    stop: StopRule

    def __post_init__(self) -> None:
        _require_positive(self, ("epochs", "batch_size", "max_length"))
        if self.rounding == "nearest":
            return
        if self.weights == "fp32":
            raise ValueError(
                "rounding=stochastic: with weights=fp32 there is nothing to round; use "
                "trainer.rounding=nearest, or trainer.weights=bf16"
            )
        if self.adapter is not None:
            raise ValueError(
                "rounding=stochastic: with an adapter must be nearest; only the adapter is "
                "trained, in float32, and there is nothing to round"
            )


def _require_positive(settings: object, names: Sequence[str]) -> None:
    for name in names:
        if getattr(settings, name) <= 0:
            raise ValueError(f"{name}={getattr(settings, name)}: must be above 0")
