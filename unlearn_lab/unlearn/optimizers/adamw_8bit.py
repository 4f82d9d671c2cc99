"""AdamW with 8-bit moments, from bitsandbytes (GPU only)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer

from unlearn_lab.unlearn.optimizers.update import FullUpdate, Prepared, Training, UpdateContext


@dataclass(frozen=True, kw_only=True)
class AdamW8bit:
    """AdamW whose moments are stored in 8 bits, in blocks (Dettmers et al., arXiv 2110.02861).

    The moments take 2 bytes per trained weight instead of 4 (bf16 weights) or 8 (fp32); parameters
    of fewer than 4096 weights keep them in float32. Needs a GPU.

    Attributes:
        lr: learning rate.
        betas: decay rates of the moments.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.
        paged: whether the moments move to the CPU's memory while they do not fit into the GPU's.
    """

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    paged: bool

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr}: must be above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={list(self.betas)}: must be at least 0 and below 1")
        for name in ("eps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be 0 or more")

    @property
    def make(self) -> Callable[..., Optimizer]:
        """Builds bitsandbytes' optimizer from its parameters."""
        from bitsandbytes.optim.adamw import AdamW8bit as EightBit

        return functools.partial(
            EightBit,
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            is_paged=self.paged,
        )

    def require_fit(self, context: UpdateContext) -> None:
        """Accepts every context."""

    def prepare(self, training: Training) -> Prepared:
        """Returns the optimizer, as `FullUpdate` does."""
        return FullUpdate(lr=self.lr, make=self.make).prepare(training)
