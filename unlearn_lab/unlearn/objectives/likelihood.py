"""Mathematics of the objectives: pure functions on logits and log-probabilities."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid


def token_log_likelihood(
    logits: Float[Tensor, "tokens vocabulary"], labels: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Returns log p(label) of each token in nats, in float32 (float64 for float64 logits).

    Memory: one tensor of the logits' shape in that dtype until the backward pass, then two. There
    is no second derivative.
    """
    return _LabelLogLikelihood.apply(logits, labels)  # pyright: ignore[reportReturnType] a tensor


def label_is_likeliest(
    logits: Float[Tensor, "tokens vocabulary"], labels: Int[Tensor, " tokens"]
) -> Bool[Tensor, " tokens"]:
    """Returns whether no token is likelier than the label; a tie counts as likeliest."""
    return logits.gather(-1, labels[:, None]).squeeze(-1) >= logits.amax(-1)


class _LabelLogLikelihood(torch.autograd.Function):
    """Log-softmax at the label, without the passes over all logits of its parts' derivatives."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        wide = torch.promote_types(logits.dtype, torch.float32)
        log_probabilities = torch.log_softmax(logits, dim=-1, dtype=wide)
        ctx.save_for_backward(log_probabilities, labels)
        ctx.dtype = logits.dtype
        return log_probabilities.gather(-1, labels[:, None]).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] of once_differentiable
        ctx: Any, *outer: Tensor
    ) -> Any:
        """Returns ([label] - p) times the outer gradient, for each token."""
        log_probabilities, labels = ctx.saved_tensors
        factor = outer[0][:, None]
        gradient = log_probabilities.exp().mul_(-factor)
        gradient.scatter_add_(1, labels[:, None], factor)
        return gradient.to(ctx.dtype), None


def token_kl(
    reference: Float[Tensor, "tokens vocabulary"], policy: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, " tokens"]:
    """Returns KL(reference || policy) at each token, in nats, from the logits of both models.

    In float32 (float64 for float64 logits). The reference receives no gradient. Memory: one tensor
    of the logits' shape in that dtype until the backward pass. There is no second derivative.
    """
    return _Divergence.apply(reference, policy)  # pyright: ignore[reportReturnType] a tensor


class _Divergence(torch.autograd.Function):
    """KL divergence that keeps its derivative alone, p_policy - p_reference."""

    @staticmethod
    def forward(ctx: Any, reference: Tensor, policy: Tensor) -> Tensor:
        wide = torch.promote_types(policy.dtype, torch.float32)
        reference_log = torch.log_softmax(reference, dim=-1, dtype=wide)
        policy_log = torch.log_softmax(policy, dim=-1, dtype=wide)
        probabilities = reference_log.exp()
        ratio = reference_log.sub_(policy_log)
        values = torch.linalg.vecdot(probabilities, ratio)
        ctx.save_for_backward(policy_log.exp_().sub_(probabilities))
        ctx.dtype = policy.dtype
        return values

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] of once_differentiable
        ctx: Any, *outer: Tensor
    ) -> Any:
        (derivative,) = ctx.saved_tensors
        return None, (derivative * outer[0][:, None]).to(ctx.dtype)


def sequence_sum(
    values: Float[Tensor, " tokens"], predicted: Bool[Tensor, "batch positions"]
) -> Float[Tensor, " batch"]:
    """Sums values per sequence; they are in row-major order of the `predicted` positions."""
    spread = values.new_zeros(predicted.shape)
    return spread.masked_scatter(predicted, values).sum(-1)


def npo_loss(
    policy: Float[Tensor, " batch"],
    reference: Float[Tensor, " batch"],
    beta: float,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> Float[Tensor, ""]:
    """Returns the negative preference optimisation loss of a batch.

    -(2/beta) mean_i log sigmoid(-beta (log pi(y_i) - log pi_ref(y_i))), where both arguments are
    *sequence* sums of token log-probabilities (Zhang et al., arXiv 2404.05868, Eq. 3). MUSE's
    reference code uses raw logits, element by element, instead.

    Args:
        policy: log-likelihood of each sequence under the trained model, in nats.
        reference: the same under the target.
        beta: inverse temperature, above 0.
        mean: averages over sequences, also those of other parts of the batch.
    """
    return -(2.0 / beta) * mean(logsigmoid(-beta * (policy - reference)))


def logit_npo(
    reference: Float[Tensor, "tokens vocabulary"],
    policy: Float[Tensor, "tokens vocabulary"],
    beta: float,
) -> Float[Tensor, " tokens"]:
    """Returns -(2/beta) log sigmoid(beta (reference - policy)), averaged over the vocabulary.

    Uses raw logits, as MUSE's reference code does: not the loss of the NPO paper.

    Args:
        reference: logits of the target.
        policy: logits of the trained model.
        beta: inverse temperature, above 0.
    """
    return -(2.0 / beta) * logsigmoid(beta * (_wide(reference) - _wide(policy))).mean(-1)


def raw_logit_kl(
    reference: Float[Tensor, "tokens vocabulary"], policy: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, " tokens"]:
    """Returns exp(reference) (reference - policy), summed over the vocabulary, on raw logits.

    This is what MUSE's reference code computes as KL: not a divergence, unbounded below, and of
    the order of the largest exp(logit).
    """
    reference, policy = _wide(reference), _wide(policy)
    return (reference.exp() * (reference - policy)).sum(-1)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
