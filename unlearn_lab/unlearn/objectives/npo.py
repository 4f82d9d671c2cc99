"""Negative preference optimisation: gradient ascent that fades as the forget texts get unlikely."""

import functools
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.batch import Tokens
from unlearn_lab.unlearn.objectives.likelihood import logit_npo, npo_loss
from unlearn_lab.unlearn.objectives.objective import Forward
from unlearn_lab.unlearn.ranks import batch_mean


@dataclass(frozen=True, kw_only=True)
class NPO:
    """Negative preference optimisation on whole sequences (Zhang et al., arXiv 2404.05868, Eq. 3).

    `beta` > 0; towards 0 the gradient tends to that of gradient ascent on sequence sums. MUSE's
    reference code applies the formula to raw logits instead: see `NPOLogits`.
    """

    beta: float
    needs_likelihood: ClassVar[bool] = True
    needs_distribution: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_beta(self.beta)

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """The loss in units of 1/beta nats, averaged over sequences."""
        policy = forward.policy(forget).sequence_log_likelihood()
        return npo_loss(policy, forward.reference_log_likelihood(forget), self.beta)


@dataclass(frozen=True, kw_only=True)
class NPOLogits:
    """NPO as MUSE's reference code has it, for published numbers (`method=npo_muse`).

    It deviates from Zhang et al., arXiv 2404.05868, Eq. 3: the preference compares raw logits,
    element by element over the vocabulary, not log-likelihoods of sequences, and the mean runs over
    all these elements. So it pushes every logit below the reference's, whatever the right token is,
    and never fades for an unlikely text. The reference code also counts the last position of each
    sequence, which predicts nothing; here it is left out.
    """

    beta: float
    needs_likelihood: ClassVar[bool] = False
    needs_distribution: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _require_beta(self.beta)

    def __call__(self, forward: Forward, forget: Tokens) -> Float[Tensor, ""]:
        """The mean over tokens and vocabulary."""
        compare = functools.partial(logit_npo, beta=self.beta)
        return batch_mean(forward.policy(forget).against_reference(compare, "forget"))


def _require_beta(beta: float) -> None:
    if beta <= 0:
        raise ValueError(f"beta={beta}: must be above 0")
