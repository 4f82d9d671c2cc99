"""Logit error: how far a quantizer moves what the model says about text that nobody trained on."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_lab.data.tokenise import encode

NUM_TEXTS, NUM_TOKENS = 8, 128
"""How much of the holdout documents is looked at: their first texts, the first tokens of each."""


@torch.no_grad()
def holdout_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]
) -> list[Float[Tensor, "tokens vocabulary"]]:
    """The logits at every position of the beginnings of the first documents, in float32 on the CPU.

    As the model is trained, each begins with BOS where the tokenizer has one.
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
    """||quantized - full|| / ||full|| over all logits; None where there are none.

    Raises `ValueError` when a quantized logit is NaN or infinite.
    """
    if not full:
        return None
    if not all(bool(torch.isfinite(logits).all()) for logits in quantized):
        raise ValueError("the quantized model's logits are NaN or infinite on holdout text")
    pairs = list(zip(quantized, full, strict=True))
    difference = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    return (difference / sum(float(b.double().square().sum()) for _, b in pairs)) ** 0.5
