"""A causal language model seen as hidden states and a head, so that no batch x length x vocabulary tensor is ever held."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from unlearn_lab.data.batch import Tokens

CHUNK_ELEMENTS = 2**25
"""Logits computed at once (tokens x vocabulary): 128 MiB in float32."""


def predicted(tokens: Tokens) -> Bool[Tensor, "batch positions"]:
    """Which positions predict a real token; position t predicts token t + 1."""
    return tokens.real[:, 1:]


def labels(tokens: Tokens) -> Int[Tensor, " tokens"]:
    """The tokens that are predicted, in row-major order of `predicted`."""
    return tokens.ids[:, 1:][predicted(tokens)]


def hidden_states(model: PreTrainedModel, tokens: Tokens) -> Float[Tensor, "tokens hidden"]:
    """Last hidden states (after the final norm) at the positions that predict, in row-major order."""
    output = model.base_model(input_ids=tokens.ids, attention_mask=tokens.real.long(), use_cache=False)
    return output.last_hidden_state[:, :-1][predicted(tokens)]


class Head(nn.Module):
    """Maps hidden states to logits: the output embedding, and the soft cap of architectures that have one."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.linear = model.get_output_embeddings()
        self.cap = getattr(model.config, "final_logit_softcapping", None)

    def forward(self, hidden: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens vocabulary"]:
        """Logits in the model's dtype."""
        logits = self.linear(hidden)
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


@torch.no_grad()
def require_plain_head(model: PreTrainedModel, tokens: Tokens) -> None:
    """Raises `ValueError` for an architecture whose logits are not `Head(hidden)`: its losses would be wrong in silence."""
    direct = model(input_ids=tokens.ids, attention_mask=tokens.real.long(), use_cache=False).logits
    ours = Head(model)(hidden_states(model, tokens))
    if not torch.allclose(direct[:, :-1][predicted(tokens)].float(), ours.float(), rtol=2e-2, atol=2e-2):
        raise ValueError(
            f"{type(model).__name__} scales or transforms its logits in a way that is not supported; "
            "use an architecture whose logits are lm_head(hidden states), with or without a soft cap"
        )


def by_chunks(
    function: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor], vocabulary: int
) -> tuple[Tensor, ...]:
    """Applies a per-token function to token-aligned tensors in chunks, recomputing each chunk in the backward pass."""
    size = max(1, CHUNK_ELEMENTS // vocabulary)
    count = tensors[0].shape[0]
    if count <= size:
        return function(*tensors)
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, count, size):
        piece = [tensor[start : start + size] for tensor in tensors]
        parts.append(checkpoint(function, *piece, use_reentrant=False))  # pyright: ignore[reportArgumentType]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))
