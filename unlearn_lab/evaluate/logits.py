"""Logit error: relative change of the logits on holdout text under a quantizer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.tokenise import encode
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase

NUM_TEXTS, NUM_TOKENS = 8, 128
"""Numbers of holdout documents and of tokens per document that are used, from the start."""


@torch.no_grad()
def holdout_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]
) -> list[Float[Tensor, "tokens vocabulary"]]:
    """Returns the logits at every position of the first documents, in float32 on the CPU.

    As in training, each sequence starts with BOS if the tokenizer has one.

    Args:
        model: the model, on its device.
        tokenizer: the model's tokenizer.
        documents: holdout documents; the first `NUM_TOKENS` tokens of the first `NUM_TEXTS` are
            used.
    """
    sequences = [
        encode([text], tokenizer, max_length=2**30)[0][:NUM_TOKENS]
        for text in documents[:NUM_TEXTS]
    ]
    device = model.device
    return [
        model(input_ids=sequence[None].to(device), use_cache=False).logits[0].float().cpu()
        for sequence in sequences
    ]


def logit_error(
    quantized: Sequence[Float[Tensor, "_ vocabulary"]],
    full: Sequence[Float[Tensor, "_ vocabulary"]],
) -> float | None:
    """Returns ||quantized - full|| / ||full|| over all logits; None if there are none.

    Raises `ValueError` when a quantized logit is NaN or infinite.
    """
    if not full:
        return None
    if not all(bool(torch.isfinite(logits).all()) for logits in quantized):
        raise ValueError("the quantized model's logits are NaN or infinite on holdout text")
    pairs = list(zip(quantized, full, strict=True))
    difference = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    return (difference / sum(float(b.double().square().sum()) for _, b in pairs)) ** 0.5
