"""Retain terms: what keeps the rest of the model's knowledge while it forgets."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.objective import Forward


@dataclass(frozen=True, kw_only=True)
class RetainNLL:
    """Gradient descent on retain (GDR): token-mean negative log-likelihood of a batch, in nats."""

    weight: float
    needs_distribution: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    def __call__(self, forward: Forward, retain: Tokens) -> Float[Tensor, ""]:
        """The unweighted loss."""
        return -forward.policy(retain).token_log_likelihood().mean()


@dataclass(frozen=True, kw_only=True)
class RetainKL:
    """KL on retain (KLR): KL(target || unlearned) in nats, mean over the tokens of a batch.

    MUSE's reference code computes `kl_div` of raw logits, which is no divergence; SURE's sums over
    tokens.
    """

    weight: float
    needs_distribution: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    def __call__(self, forward: Forward, retain: Tokens) -> Float[Tensor, ""]:
        """The unweighted loss; zero for the target itself."""
        return forward.policy(retain).token_kl_from_reference().mean()


def _require_weight(weight: float) -> None:
    if weight < 0:
        raise ValueError(f"weight={weight}: must be 0 or more")
