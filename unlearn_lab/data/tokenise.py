"""Turns texts into token sequences that a model is trained on."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Chunking = Literal["texts", "stream"]

BETWEEN = "\n\n"
"""What stands between two texts of a stream, as in the files that MUSE's loader writes."""


def chunk(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, chunking: Chunking
) -> list[Tensor]:
    """The training sequences of a split: each text by itself (`encode`), or cut from one stream."""
    cut = encode if chunking == "texts" else encode_stream
    return cut(texts, tokenizer, max_length)


def encode_stream(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Tensor]:
    """All texts as one stream of tokens, cut into sequences of BOS and `max_length` - 1 tokens.

    Without a BOS, as with Qwen's tokenizer, these are `max_length` tokens of text. The last one is
    filled up from the start of the first, BOS included, so that all are equally long (a stream of
    less than half of that stays shorter). There is no EOS. As in MUSE's reference code for its
    raw/*.txt files (arXiv 2407.06460), where texts are parted by a blank line.
    """
    first = _bos(tokenizer)
    room = _room(first, max_length)
    ids = text_ids([BETWEEN.join(texts)], tokenizer)[0] if texts else []
    pieces = [[*first, *ids[at : at + room]] for at in range(0, len(ids), room)]
    if pieces:
        pieces[-1] = [*pieces[-1], *pieces[0]][:max_length]
    return [torch.tensor(piece) for piece in pieces if len(piece) > 1]


def encode(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Tensor]:
    """One sequence a text: BOS, the tokens, EOS.

    Each special token stands only where the tokenizer has it. A text longer than `max_length`
    tokens is cut into consecutive pieces, each of which starts with BOS. Raises `ValueError` when
    `max_length` leaves no room beside BOS.
    """
    first = _bos(tokenizer)
    last = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    room = _room(first, max_length)
    sequences: list[Tensor] = []
    for ids in text_ids(texts, tokenizer):
        body = [*ids, *last]
        pieces = [[*first, *body[at : at + room]] for at in range(0, len(body), room)]
        sequences += [torch.tensor(piece) for piece in pieces if len(piece) > 1]
    return sequences


def text_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The tokens of each text, all of it taken as text: `</s>` in a corpus is four characters.

    No special token is added, and none is read out of a text: it would end an answer, while the
    truth that the answer is compared with goes on. Raises `ValueError` for a text with the name of
    a special token that the tokenizer cannot write in other tokens.
    """
    if not texts:
        return []
    found: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
    )["input_ids"]
    unknown = cast("int | None", tokenizer.unk_token_id)
    special = {one for one in tokenizer.all_special_ids if one != unknown}
    for text, ids in zip(texts, found, strict=True):
        if not special.isdisjoint(ids):
            name = tokenizer.convert_ids_to_tokens(next(one for one in ids if one in special))
            raise ValueError(
                f"the text {text[:40]!r} holds {name!r}, which this tokenizer knows as a special "
                "token only and not as text; take it out of the text"
            )
    return found


def _bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    first = cast("int | None", tokenizer.bos_token_id)
    return [] if first is None else [first]


def _room(first: Sequence[int], max_length: int) -> int:
    room = max_length - len(first)
    if room < 1:
        raise ValueError(f"trainer.max_length={max_length}: must be at least {len(first) + 1}")
    return room
