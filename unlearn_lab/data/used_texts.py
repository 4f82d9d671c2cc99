"""Tokenizes everything of a corpus that a model will be given."""

import dataclasses
from collections.abc import Iterator, Mapping

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.template import question_ids
from unlearn_lab.data.tokenise import text_ids
from unlearn_lab.data.typed import PreTrainedTokenizerBase


def used_ids(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, list[int]]]:
    """Yields every text of a corpus with its tokens, then the first question as a prompt."""
    content = {**dataclasses.asdict(corpus), "template": None}
    texts = list(dict.fromkeys(_strings(content)))
    yield from zip(texts, text_ids(texts, tokenizer), strict=True)
    for pair in (*corpus.forget_pairs, *corpus.forget_questions)[:1]:
        yield pair.question, question_ids(pair.question, corpus.template, tokenizer)


def _strings(value: object) -> Iterator[str]:
    """Yields all texts in nested dicts and sequences."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
