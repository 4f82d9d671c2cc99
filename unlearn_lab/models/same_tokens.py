"""Compares two tokenizers by what they make of a corpus."""

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.typed import PreTrainedTokenizerBase
from unlearn_lab.data.used_texts import used_ids
from unlearn_lab.models.tokenizer import special_id


def token_difference(
    target: PreTrainedTokenizerBase, given: PreTrainedTokenizerBase, corpus: Corpus
) -> str | None:
    """Returns the first difference that the corpus would show, in words; None if there is none.

    Compared are the tokens of all texts, of the first question as a prompt (by the chat template,
    if that is used), and the ids of BOS and EOS.
    """
    for name in ("bos", "eos"):
        ids = [special_id(tokenizer, name) for tokenizer in (target, given)]
        if ids[0] != ids[1]:
            return f"its tokenizer's {name} token has the id {ids[1]}, and the target's {ids[0]}"
    pairs = zip(used_ids(corpus, target), used_ids(corpus, given), strict=True)
    for (text, ours), (_, theirs) in pairs:
        if ours != theirs:
            return f"its tokenizer splits the text {text[:40]!r} differently from the target's"
    return None
