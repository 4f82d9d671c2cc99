"""Retain terms: losses that preserve the rest of the model's knowledge while it forgets."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.objectives.likelihood import raw_logit_kl, token_kl
from unlearn_lab.unlearn.objectives.objective import Forward
from unlearn_lab.unlearn.ranks import sequence_mean, token_mean

KLVariant = Literal["divergence", "token_sum", "raw_logits"]


@dataclass(frozen=True, kw_only=True)
class RetainNLL:
    """Gradient descent on retain (GDR): token-mean negative log-likelihood, in nats."""

    weight: float
    needs_distribution: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    def __call__(self, forward: Forward, retain: Tokens) -> Float[Tensor, ""]:
        """Returns the unweighted loss."""
        return -token_mean(forward.policy(retain).token_log_likelihood(), retain)


@dataclass(frozen=True, kw_only=True)
class RetainKL:
    """KL on retain (KLR): KL(target || unlearned) in nats, in one of three variants.

    - `divergence`: the mean over the tokens of a batch (the definition).
    - `token_sum`: the sum over each sequence's tokens, averaged over sequences, as in the code
      released with SURE: about 100 to 2000 times `divergence`, so it needs another weight.
    - `raw_logits`: as in MUSE's reference code, which uses logits in place of log-probabilities;
      summed as in `token_sum`. Not a divergence: its minimum is not the target, and it is unbounded
      below.

    Both released codes also count the last position of each sequence, which predicts nothing; it is
    left out here.
    """

    weight: float
    variant: KLVariant
    needs_distribution: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _require_weight(self.weight)

    def __call__(self, forward: Forward, retain: Tokens) -> Float[Tensor, ""]:
        """Returns the unweighted loss; zero for the target itself."""
        compare = raw_logit_kl if self.variant == "raw_logits" else token_kl
        values = forward.policy(retain).against_reference(compare, "retain")
        if self.variant == "divergence":
            return token_mean(values, retain)
        return sequence_mean(values, retain)


def _require_weight(weight: float) -> None:
    if weight < 0:
        raise ValueError(f"weight={weight}: must be 0 or more")
