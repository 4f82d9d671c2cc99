"""Settings of trainings: the configuration groups `finetune` and `trainer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unlearn_lab.data.batch import Pairing
from unlearn_lab.data.tokenise import Chunking
from unlearn_lab.models.arithmetic import Arithmetic
from unlearn_lab.models.linears import Trainable
from unlearn_lab.unlearn.training.adapter import Adapter
from unlearn_lab.unlearn.training.stop import StopRule

Weights = Literal["fp32", "bf16"]
Rounding = Literal["nearest", "stochastic"]


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Fine-tuning of target and retrain control, with the same number of optimizer steps.

    AdamW, with linear warm-up and a cosine to `floor` x lr.

    Attributes:
        weights: dtype of weights, gradients and optimizer state.
        arithmetic: see `UnlearningTraining`.
        steps: optimizer steps.
        batch_size: sequences in a batch.
        max_length: tokens in a sequence.
        chunking: see `UnlearningTraining`.
        lr: maximum learning rate.
        betas: AdamW's.
        weight_decay: AdamW's.
        clip_norm: maximum gradient norm; None for no clipping.
        warmup_steps: steps of the warm-up.
        floor: final learning rate as a share of `lr`.
    """

    weights: Weights
    arithmetic: Arithmetic
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
    """Unlearning at a constant learning rate; an epoch is one pass over the forget set.

    `weights` and `rounding` together decide the precision of the training:

    - `fp32`: weights, gradients and optimizer state in float32.
    - `bf16`, `nearest`: all three in bfloat16, as in the reference code. An update below half a
      weight's spacing is lost, so at small lr most weights cannot move, and AdamW's second moment
      never decays (0.999 v rounds back to v).
    - `bf16`, `stochastic`: weights and gradients in bfloat16, optimizer state in float32. A small
      update moves a weight rarely, but by its size on average. Training needs a float32 copy of the
      trained weights: with AdamW on all of a 7B model more than 80 GB, with SURE a fraction of it.

    Attributes:
        weights: dtype in which the model's weights are stored.
        arithmetic: dtype of the products of a forward pass (see `training_arithmetic`); `auto` in
            a configuration is resolved before this.
        rounding: how an updated weight is rounded to that dtype.
        epochs: maximum number of epochs.
        batch_size: forget sequences in a batch, each paired with a retain sequence.
        max_length: maximum tokens in a sequence.
        chunking: `texts`, each text separately; `stream`, the texts of a split joined and cut.
        pairing: how retain sequences are chosen (see `data.batch.PairedOrder`).
        clip_norm: maximum gradient norm; None for no clipping.
        trainable: which parameters are trained; ignored with an adapter.
        adapter: its weights are trained instead, in float32, and merged into the model's.
        stop: decides after each epoch whether to end early.
    """

    weights: Weights
    arithmetic: Arithmetic
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
