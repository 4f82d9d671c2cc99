"""Log-probabilities of a text's tokens, without the logits of a whole batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from unlearn_lab.data.batch import Tokens, pad, to_device
from unlearn_lab.models.causal_lm import Head, by_chunks, has_plain_head, hidden_states, labels
from unlearn_lab.unlearn.objectives.likelihood import label_is_likeliest, token_log_likelihood

_PADDING = 0
_CHECKED = 16
"""Tokens of a text on which logits are compared."""


class Scorer:
    """Scores texts with one model, on its device.

    Logits are computed from the last hidden states in chunks, at real positions only: memory does
    not grow with batch x length x vocabulary (16 GB for 16,384 tokens of a vocabulary of 256,000).
    A model that scales or transforms its logits (decided on the first text) is run text by text,
    with the logits of one text at a time.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._plain: bool | None = None

    def score(
        self, texts: Sequence[list[int]]
    ) -> list[tuple[Float[Tensor, " scored"], Bool[Tensor, " scored"]]]:
        """Returns log-probabilities of all tokens but the first, and which are the likeliest.

        In nats, float32; on the CPU.
        """
        sequences = [torch.tensor(text) for text in texts]
        tokens = to_device(pad(sequences, range(len(texts)), _PADDING), self._model.device)
        if self._plain is None:
            first = Tokens(tokens.ids[:1, :_CHECKED], tokens.real[:1, :_CHECKED], tokens.index[:1])
            self._plain = has_plain_head(self._model, first)
        if not self._plain:
            return [self._alone(sequence) for sequence in sequences]
        head = Head(self._model)
        hidden = hidden_states(self._model, tokens)
        values, hits = by_chunks(
            lambda hidden, label: _of_labels(head(hidden), label),
            [hidden, labels(tokens)],
            self._model.config.get_text_config().vocab_size,
        )
        lengths = [len(text) - 1 for text in texts]
        return list(zip(values.cpu().split(lengths), hits.cpu().split(lengths), strict=True))

    def _alone(self, sequence: Tensor) -> tuple[Float[Tensor, " scored"], Bool[Tensor, " scored"]]:
        ids = sequence.to(self._model.device)
        logits = self._model(input_ids=ids[None], use_cache=False).logits[0, :-1]
        values, hits = _of_labels(logits, ids[1:])
        return values.cpu(), hits.cpu()


def _of_labels(
    logits: Float[Tensor, "tokens vocabulary"], label: Int[Tensor, " tokens"]
) -> tuple[Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Returns the log-probabilities of the labels, and whether no token is likelier."""
    return token_log_likelihood(logits, label).float(), label_is_likeliest(logits, label)
