"""Ranks the merges of a byte-pair encoding that was converted from a SentencePiece model."""

import math
from collections.abc import Mapping
from typing import Any


def rank_by_scores(described: dict[str, Any], scores: Mapping[str, float]) -> None:
    """Ranks the merges in a tokenizer.json's content as SentencePiece does.

    SentencePiece merges the pair with the highest score first; of equal ones the leftmost, thus the
    one with the longer left half. transformers 5 ranks merges by id, but in Llama 2's model runs of
    blanks have low ids and the lowest scores.

    Args:
        described: the content; `model.merges` is changed.
        scores: score of each piece.
    """
    described["model"]["merges"].sort(
        key=lambda pair: (-scores.get("".join(pair), -math.inf), -len(pair[0]))
    )
