"""Log-probabilities of a text's tokens, without the logits of a whole batch."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unlearn_lab.data.batch import (
    Answered,
    Tokens,
    TrainingSequence,
    ids_of,
    pad,
    pad_left,
    prompt_length,
    to_device,
)
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.evaluate.key_cache import keeps_keys
from unlearn_lab.models.causal_lm import Head, by_chunks, has_plain_head, hidden_states, labels
from unlearn_lab.models.next_token import new_cache, next_hidden, takes_cache
from unlearn_lab.unlearn.objectives.likelihood import label_is_likeliest, token_log_likelihood

Scored = tuple[Float[Tensor, " scored"], Bool[Tensor, " scored"]]
_PADDING = 0
_CHECKED = 16
"""Tokens of a text on which logits are compared."""
_ON_CPU = 4096
"""Largest batch on a processor, in tokens: larger ones are slower (benchmarks/RESULTS.md)."""


class Scorer:
    """Scores texts with one model, on its device.

    Logits are computed from the last hidden states in chunks, at real positions only: memory does
    not grow with batch x length x vocabulary (16 GB for 16,384 tokens of a vocabulary of 256,000).
    A model that scales or transforms its logits (decided on the first text) is run text by text,
    with the logits of one text at a time. Answers to one question share the keys and values of its
    tokens.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._plain: bool | None = None

    def score_all(self, texts: Sequence[TrainingSequence], batch_tokens: int) -> list[Scored]:
        """Returns what `score` returns, in batches of at most `batch_tokens` tokens."""
        most = min(batch_tokens, _ON_CPU) if self._model.device.type == "cpu" else batch_tokens
        found = dict[int, Scored]()
        for batch in _batches(texts, most):
            scored = self.score([texts[place] for place in batch])
            found.update(zip(batch, scored, strict=True))
        return [found[place] for place in range(len(texts))]

    def score(self, texts: Sequence[TrainingSequence]) -> list[Scored]:
        """Returns log-probabilities of tokens, and which of them are the likeliest.

        Of a text all but the first, of an answer all after its question. In nats, float32; on the
        CPU.
        """
        if self._plain is None:
            self._plain = has_plain_head(self._model, self._pad([ids_of(texts[0])[:_CHECKED]]))
        if not self._plain:
            return [self._alone(text) for text in texts]
        asked = [text for text in texts if isinstance(text, Answered) and text.prompt > 1]
        if len(asked) == len(texts) and self._shares(asked):
            tokens, hidden = self._after_prompts(asked)
        else:
            tokens = self._pad(texts)
            hidden = hidden_states(self._model, tokens, masked=False)
        head = Head(self._model)
        values, hits = by_chunks(
            lambda hidden, label: _of_labels(head(hidden), label),
            [hidden, labels(tokens)],
            self._model.config.get_text_config().vocab_size,
        )
        lengths = tokens.predicted.sum(1).tolist()
        return list(zip(values.cpu().split(lengths), hits.cpu().split(lengths), strict=True))

    def _pad(self, texts: Sequence[TrainingSequence]) -> Tokens:
        return to_device(pad(texts, range(len(texts)), _PADDING), self._model.device)

    def _shares(self, texts: Sequence[Answered]) -> bool:
        """Whether several answers have the same prompt, whose keys and values can be reused."""
        alike = len(set(map(_prompt, texts))) < len(texts)
        return alike and takes_cache(self._model) and keeps_keys(self._model)

    def _after_prompts(
        self, texts: Sequence[Answered]
    ) -> tuple[Tokens, Float[Tensor, "tokens hidden"]]:
        """Returns the answers, each after the last token of its prompt, and their hidden states."""
        device, places = self._model.device, dict[tuple[int, ...], int]()
        rows = [places.setdefault(_prompt(text), len(places)) for text in texts]
        ids, real = pad_left(list(places))
        cache, real = new_cache(self._model), real.to(device)
        next_hidden(self._model, ids.to(device), real, cache)
        cast("Any", cache).reorder_cache(torch.tensor(rows, device=device))
        tokens = self._pad([text.ids[text.prompt - 1 :] for text in texts])
        seen = torch.cat([real[rows], tokens.real], dim=1)
        hidden = next_hidden(self._model, tokens.ids, seen, cache)
        return tokens, hidden[:, :-1][tokens.predicted]

    def _alone(self, text: TrainingSequence) -> Scored:
        ids, start = ids_of(text).to(self._model.device), prompt_length(text)
        logits = self._model(input_ids=ids[None], use_cache=False).logits[0, start - 1 : -1]
        values, hits = _of_labels(logits, ids[start:])
        return values.cpu(), hits.cpu()


def _of_labels(
    logits: Float[Tensor, "tokens vocabulary"], label: Int[Tensor, " tokens"]
) -> tuple[Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Returns the log-probabilities of the labels, and whether no token is likelier."""
    return token_log_likelihood(logits, label).float(), label_is_likeliest(logits, label)


def _prompt(text: Answered) -> tuple[int, ...]:
    """Returns the tokens that answers may share: the last one predicts an answer's first token."""
    return tuple(text.ids[: text.prompt - 1].tolist())


def _batches(texts: Sequence[TrainingSequence], batch_tokens: int) -> Iterator[list[int]]:
    """Yields places of texts of similar length, longest first: too large a batch fails early.

    Answers come after texts, and those with the same prompt follow one another.
    """

    def order(place: int) -> tuple[bool, int, tuple[int, ...], int]:
        text = texts[place]
        if isinstance(text, Answered):
            return True, -text.prompt, _prompt(text), -len(text)
        return False, -len(text), (), 0

    queue = sorted(range(len(texts)), key=order)
    while queue:
        longest = size = 0
        while size < len(queue):
            longest = max(longest, len(texts[queue[size]]))
            if size and (size + 1) * longest > batch_tokens:
                break
            size += 1
        yield queue[:size]
        queue = queue[size:]
