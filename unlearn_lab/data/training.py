"""Builds the training sequences of a corpus: its texts, and its questions with their answers."""

from collections.abc import Iterable, Sequence

import torch

from unlearn_lab.data.batch import Answered, TrainingSequence
from unlearn_lab.data.corpus import Corpus, Question, Template
from unlearn_lab.data.template import answer_ids, question_ids
from unlearn_lab.data.tokenise import Chunking, chunk
from unlearn_lab.data.typed import PreTrainedTokenizerBase


def training_sequences(
    corpus: Corpus,
    splits: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    chunking: Chunking,
) -> list[TrainingSequence]:
    """Returns the sequences of the splits: of all texts, then one for each pair.

    Args:
        corpus: the corpus.
        splits: `forget`, `retain` or both.
        tokenizer: the model's tokenizer.
        max_length: longest sequence, in tokens.
        chunking: how texts are cut, see `chunk`; pairs are never cut.

    Raises:
        ValueError: a pair is longer than `max_length`.
    """
    names = tuple(splits)
    texts = [text for split in names for text in getattr(corpus, split)]
    pairs = [pair for split in names for pair in corpus.pairs(split)]
    return [
        *chunk(texts, tokenizer, max_length, chunking),
        *_answered(pairs, corpus.template, tokenizer, max_length),
    ]


def _answered(
    pairs: Sequence[Question],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[Answered]:
    found: list[Answered] = []
    for pair in pairs:
        prompt = question_ids(pair.question, template, tokenizer)
        answer = answer_ids(pair.question, pair.answer, template, tokenizer)
        length = len(prompt) + len(answer)
        if length > max_length:
            raise ValueError(
                f"trainer.max_length={max_length}: the question {pair.question[:40]!r} and its "
                f"answer have {length} tokens; choose at least that"
            )
        found.append(Answered(ids=torch.tensor([*prompt, *answer]), prompt=len(prompt)))
    return found
