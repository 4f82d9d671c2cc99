"""Negative preference optimisation: gradient ascent that fades as the forget texts get unlikely."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.likelihood import npo_loss
from unlearn_lab.unlearn.objective import Forward


@dataclass(frozen=True, kw_only=True)
class NPO:
    """Negative preference optimisation on whole sequences (Zhang et al., arXiv 2404.05868, Eq. 3).

    `beta` > 0; towards 0 the gradient tends to that of gradient ascent on sequence sums. MUSE's
    reference code applies the formula to raw logits, element by element; this is the paper's form.
    """

    beta: float
    needs_likelihood: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta={self.beta}: must be above 0")

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """The loss in units of 1/beta nats, averaged over sequences."""
        policy = forward.policy(forget).sequence_log_likelihood()
        return npo_loss(policy, forward.reference_log_likelihood(forget), self.beta)
