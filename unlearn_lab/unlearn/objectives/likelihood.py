"""The mathematics of the objectives: pure functions on logits and log-probabilities."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from unlearn_lab.unlearn.ranks import batch_mean


def token_log_likelihood(
    logits: Float[Tensor, "tokens vocabulary"], labels: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Log p(label) of each token, in nats, in float32 (float64 for float64 logits)."""
    logits = _wide(logits)
    return logits.gather(-1, labels[:, None]).squeeze(-1) - torch.logsumexp(logits, dim=-1)


def token_kl(
    reference: Float[Tensor, "tokens vocabulary"], policy: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, " tokens"]:
    """KL(reference || policy) of each token's distribution, in nats, from the logits of both."""
    reference_log = torch.log_softmax(_wide(reference), dim=-1)
    policy_log = torch.log_softmax(_wide(policy), dim=-1)
    return (reference_log.exp() * (reference_log - policy_log)).sum(-1)


def sequence_sum(
    values: Float[Tensor, " tokens"], predicted: Bool[Tensor, "batch positions"]
) -> Float[Tensor, " batch"]:
    """The sum over each sequence of values in row-major order of the `predicted` positions."""
    spread = values.new_zeros(predicted.shape)
    return spread.masked_scatter(predicted, values).sum(-1)


def npo_loss(
    policy: Float[Tensor, " batch"], reference: Float[Tensor, " batch"], beta: float
) -> Float[Tensor, ""]:
    """Negative preference optimisation of a batch.

    -(2/beta) mean_i log sigmoid(-beta (log pi(y_i) - log pi_ref(y_i))), where both arguments are
    *sequence* sums of token log-probabilities (Zhang et al., arXiv 2404.05868, Eq. 3). MUSE's
    reference code uses raw logits, element by element, instead.
    """
    return -(2.0 / beta) * batch_mean(logsigmoid(-beta * (policy - reference)))


def logit_npo(
    reference: Float[Tensor, "tokens vocabulary"],
    policy: Float[Tensor, "tokens vocabulary"],
    beta: float,
) -> Float[Tensor, " tokens"]:
    """Each token's mean over the vocabulary of -(2/beta) log sigmoid(beta (reference - policy)).

    On raw logits, as in MUSE's reference code: not the loss of the NPO paper.
    """
    return -(2.0 / beta) * logsigmoid(beta * (_wide(reference) - _wide(policy))).mean(-1)


def raw_logit_kl(
    reference: Float[Tensor, "tokens vocabulary"], policy: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, " tokens"]:
    """Each token's sum over the vocabulary of exp(reference) (reference - policy), on raw logits.

    What MUSE's reference code computes as KL: no divergence, not bounded below, and of the order
    of the largest exp(logit).
    """
    reference, policy = _wide(reference), _wide(policy)
    return (reference.exp() * (reference - policy)).sum(-1)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
