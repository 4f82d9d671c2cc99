"""Splits a causal language model into hidden states and a head, to compute logits in chunks."""

import functools
from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unlearn_lab.data.batch import Tokens
from unlearn_lab.data.typed import PreTrainedModel

CHUNK_ELEMENTS = 2**24
"""Logits computed at once (tokens x vocabulary): 64 MiB in float32."""
STORED_ELEMENTS = 2**26
"""Logits of one split that may be stored until the backward pass: 256 MiB in float32."""


def predicted(tokens: Tokens) -> Bool[Tensor, "batch positions"]:
    """Returns which positions predict a token to learn; position t predicts token t + 1."""
    return tokens.predicted


def labels(tokens: Tokens) -> Int[Tensor, " tokens"]:
    """Returns the predicted tokens, in row-major order of `predicted`."""
    return tokens.ids[:, 1:][predicted(tokens)]


def hidden_states(
    model: PreTrainedModel, tokens: Tokens, *, masked: bool = True
) -> Float[Tensor, "tokens hidden"]:
    """Last hidden states (after the final norm) at the predicting positions, in row-major order.

    Without a mask, attention is faster; padding on the right is behind all that a real token sees.
    An empty batch still runs the model, on one token: every parameter gets a gradient (zeros), and
    the collectives of other ranks do not hang.
    """
    if len(tokens.ids) == 0:
        tokens = Tokens(tokens.ids.new_zeros(1, 1), tokens.real.new_ones(1, 1), tokens.index)
    mask = tokens.real.long() if masked else None
    output = model.base_model(input_ids=tokens.ids, attention_mask=mask, use_cache=False)
    return output.last_hidden_state[:, :-1][predicted(tokens)]


def output_embedding(model: PreTrainedModel) -> nn.Module:
    """Returns the layer from hidden states to logits; raises `ValueError` if there is none."""
    found = model.get_output_embeddings()
    if found is None:
        raise ValueError(
            f"{type(model).__name__} has no output embedding: use a causal language model"
        )
    return found


class Head(nn.Module):
    """Maps hidden states to logits: the output embedding, then the logit soft cap if configured."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.linear = output_embedding(model)
        self.cap = getattr(model.config, "final_logit_softcapping", None)

    def forward(self, hidden: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens vocabulary"]:
        """Logits in the model's dtype."""
        logits = self.linear(hidden)
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


@torch.no_grad()
def require_plain_head(model: PreTrainedModel, tokens: Tokens) -> None:
    """Raises `ValueError` if the model's logits are not `Head(hidden)`, or not finite.

    Losses would otherwise be silently wrong. Compares both on one batch, to 2e-2.
    """
    direct, ours = _both_logits(model, tokens)
    if not torch.isfinite(direct).all():
        raise ValueError(
            "the logits of the model to train are NaN or infinite before any step: its weights are "
            "not finite; take another checkpoint"
        )
    if not torch.allclose(direct, ours, rtol=2e-2, atol=2e-2):
        raise ValueError(
            f"{type(model).__name__} scales or transforms its logits in a way that is not "
            "supported; use an architecture whose logits are lm_head(hidden states), with or "
            "without a soft cap"
        )


@torch.no_grad()
def has_plain_head(model: PreTrainedModel, tokens: Tokens) -> bool:
    """Returns whether the model's logits are `Head(hidden)` on one batch.

    That is, whether the norm of the difference is at most 1e-2 of the logits' norm; also for NaN.
    """
    direct, ours = _both_logits(model, tokens)
    return not bool((direct - ours).norm() > 1e-2 * direct.norm())


def _both_logits(
    model: PreTrainedModel, tokens: Tokens
) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, "tokens vocabulary"]]:
    """Returns the model's own logits at predicting positions, and `Head(hidden)`, in float32."""
    direct = model(input_ids=tokens.ids, attention_mask=tokens.real.long(), use_cache=False).logits
    ours = Head(model)(hidden_states(model, tokens))
    return direct[:, :-1][predicted(tokens)].float(), ours.float()


def by_chunks(
    function: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor], vocabulary: int
) -> tuple[Tensor, ...]:
    """Applies a per-token function in chunks of `CHUNK_ELEMENTS` logits.

    Of more than `STORED_ELEMENTS` logits none is stored: each chunk is computed again in the
    backward pass.

    Args:
        function: maps slices of `tensors` to per-token tensors.
        tensors: token-aligned tensors, sliced along their first dimension.
        vocabulary: logits per token.
    """
    size = max(1, CHUNK_ELEMENTS // vocabulary)
    count = tensors[0].shape[0]
    if count <= size:
        return function(*tensors)
    run = function
    if count * vocabulary > STORED_ELEMENTS:
        run = functools.partial(checkpoint, function, use_reentrant=False)
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, count, size):
        made = run(*(tensor[start : start + size] for tensor in tensors))
        parts.append(cast("tuple[Tensor, ...]", made))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))
