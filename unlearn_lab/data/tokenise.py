"""Turns texts into token sequences that a model is trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


def encode(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Tensor]:
    """One sequence a text: BOS, the tokens, EOS.

    Each special token stands only where the tokenizer has it. A text longer than `max_length`
    tokens is cut into consecutive pieces, each of which starts with BOS. Raises `ValueError` when
    `max_length` leaves no room beside BOS.
    """
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    last = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    room = max_length - len(first)
    if room < 1:
        raise ValueError(f"trainer.max_length={max_length}: must be at least {len(first) + 1}")
    sequences: list[Tensor] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []:
        body = [*ids, *last]
        pieces = [[*first, *body[at : at + room]] for at in range(0, len(body), room)]
        sequences += [torch.tensor(piece) for piece in pieces if len(piece) > 1]
    return sequences
