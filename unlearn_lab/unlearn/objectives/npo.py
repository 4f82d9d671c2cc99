"""Negative preference optimisation, on sequence log-likelihoods (paper) or raw logits (MUSE)."""

import functools
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.objectives.likelihood import logit_npo, npo_loss
from unlearn_lab.unlearn.objectives.objective import Forward
from unlearn_lab.unlearn.ranks import sequence_mean, token_mean


@dataclass(frozen=True, kw_only=True)
class NPO:
    """Negative preference optimisation on whole sequences (Zhang et al., arXiv 2404.05868, Eq. 3).

    Unlike that of gradient ascent, the gradient vanishes as the forget texts become unlikely.
    `beta` > 0; as it tends to 0, the gradient tends to that of gradient ascent on sequence sums.
    MUSE's reference code applies the formula to raw logits instead: see `NPOLogits`.
    """

    beta: float
    needs_likelihood: ClassVar[bool] = True
    needs_distribution: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_beta(self.beta)

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """Returns the loss, averaged over sequences, in units of 1/beta nats."""
        policy = forward.policy(forget).sequence_log_likelihood()
        reference = forward.reference_log_likelihood(forget)
        mean = functools.partial(sequence_mean, tokens=forget)
        return npo_loss(policy, reference, self.beta, mean)


@dataclass(frozen=True, kw_only=True)
class NPOLogits:
    """NPO as in MUSE's reference code, to reproduce published numbers (`method=npo_muse`).

    Deviates from Zhang et al., arXiv 2404.05868, Eq. 3: it compares raw logits, element by element
    over the vocabulary, instead of sequence log-likelihoods, and averages over all these elements.
    It therefore pushes every logit below the reference's, whatever the label is, and its gradient
    does not vanish for unlikely texts. The reference code also counts the last position of each
    sequence, which predicts nothing; it is left out here.
    """

    beta: float
    needs_likelihood: ClassVar[bool] = False
    needs_distribution: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _require_beta(self.beta)

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """Returns the loss, averaged over tokens and vocabulary."""
        compare = functools.partial(logit_npo, beta=self.beta)
        return token_mean(forward.policy(forget).against_reference(compare, "forget"), forget)


def _require_beta(beta: float) -> None:
    if beta <= 0:
        raise ValueError(f"beta={beta}: must be above 0")
