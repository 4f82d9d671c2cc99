"""Tokenizes texts into training sequences."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor

from unlearn_lab.data.typed import PreTrainedTokenizerBase

Chunking = Literal["texts", "stream"]

BETWEEN = "\n\n"
"""Separator of the texts in a stream, as in the files that MUSE's loader writes."""


def chunk(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, chunking: Chunking
) -> list[Tensor]:
    """Builds the training sequences of a split.

    Args:
        texts: the texts of the split.
        tokenizer: the model's tokenizer.
        max_length: longest sequence, in tokens.
        chunking: `texts` for one sequence per text (`encode`), `stream` for `encode_stream`.
    """
    cut = encode if chunking == "texts" else encode_stream
    return cut(texts, tokenizer, max_length)


def encode_stream(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Tensor]:
    """Cuts all texts, as one stream of tokens, into sequences of BOS and `max_length` - 1 tokens.

    Without a BOS (Qwen), a sequence is `max_length` tokens of text. There is no EOS. The last
    sequence is filled up from the start of the first, BOS included, so that all are equally long; a
    stream of less than half a sequence stays shorter. As MUSE's reference code does for its
    raw/*.txt files (arXiv 2407.06460), where a blank line separates texts.

    Args:
        texts: the texts of the split.
        tokenizer: the model's tokenizer.
        max_length: length of a sequence, in tokens.
    """
    first = bos(tokenizer)
    room = _room(first, max_length)
    ids = text_ids([BETWEEN.join(texts)], tokenizer)[0] if texts else []
    pieces = [[*first, *ids[at : at + room]] for at in range(0, len(ids), room)]
    if pieces:
        pieces[-1] = [*pieces[-1], *pieces[0]][:max_length]
    return [torch.tensor(piece) for piece in pieces if len(piece) > 1]


def encode(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Tensor]:
    """Encodes each text as one sequence: BOS, the tokens, EOS (those that the tokenizer has).

    A text longer than `max_length` is cut into consecutive sequences, each starting with BOS.

    Args:
        texts: the texts of the split.
        tokenizer: the model's tokenizer.
        max_length: longest sequence, in tokens.

    Raises:
        ValueError: `max_length` leaves no room beside BOS.
    """
    first = bos(tokenizer)
    last = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    room = _room(first, max_length)
    sequences: list[Tensor] = []
    for ids in text_ids(texts, tokenizer):
        body = [*ids, *last]
        pieces = [[*first, *body[at : at + room]] for at in range(0, len(body), room)]
        sequences += [torch.tensor(piece) for piece in pieces if len(piece) > 1]
    return sequences


def text_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Tokenizes each text as plain text: `</s>` in a corpus is four characters.

    No special token is added, and none is parsed from a text: EOS would end an answer before its
    ground truth ends. Raises `ValueError` for a text with the name of a special token that the
    tokenizer cannot encode as plain text.
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
                f"the text {text[:40]!r} contains {name!r}, which this tokenizer can encode "
                "only as a special token, not as text; remove it from the text"
            )
    return found


def bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns BOS as the first tokens of a sequence; empty if the tokenizer has none."""
    first = cast("int | None", tokenizer.bos_token_id)
    return [] if first is None else [first]


def _room(first: Sequence[int], max_length: int) -> int:
    room = max_length - len(first)
    if room < 1:
        raise ValueError(f"trainer.max_length={max_length}: must be at least {len(first) + 1}")
    return room
