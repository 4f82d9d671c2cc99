"""Gradient ascent on the loss of the forget texts, which makes them less likely."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.objectives.objective import Forward
from unlearn_lab.unlearn.ranks import token_mean


@dataclass(frozen=True, kw_only=True)
class GradientAscent:
    """Negated token-mean negative log-likelihood of the forget batch, in nats.

    From Jang et al., arXiv 2210.01504. The mean runs over all tokens of the batch, as in MUSE's
    reference code, not over per-sequence means.
    """

    needs_likelihood: ClassVar[bool] = False
    needs_distribution: ClassVar[bool] = False

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """Returns the mean token log-likelihood, which training minimises."""
        return token_mean(forward.policy(forget).token_log_likelihood(), forget)
