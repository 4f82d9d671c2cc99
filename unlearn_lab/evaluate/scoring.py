"""Log-probabilities of a text's tokens, without the logits of a whole batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from unlearn_lab.data.batch import Tokens, pad, to_device
from unlearn_lab.models.causal_lm import Head, by_chunks, has_plain_head, hidden_states, labels
from unlearn_lab.unlearn.objectives.likelihood import token_log_likelihood

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

    def score(self, texts: Sequence[list[int]]) -> list[Float[Tensor, " scored"]]:
        """Returns log-probabilities in nats of all tokens but the first, float32 on the CPU."""
        sequences = [torch.tensor(text) for text in texts]
        tokens = to_device(pad(sequences, range(len(texts)), _PADDING), self._model.device)
        if self._plain is None:
            first = Tokens(tokens.ids[:1, :_CHECKED], tokens.real[:1, :_CHECKED], tokens.index[:1])
            self._plain = has_plain_head(self._model, first)
        if not self._plain:
            return [self._alone(sequence) for sequence in sequences]
        head = Head(self._model)
        hidden = hidden_states(self._model, tokens)
        (values,) = by_chunks(
            lambda hidden, label: (token_log_likelihood(head(hidden), label).float(),),
            [hidden, labels(tokens)],
            self._model.config.get_text_config().vocab_size,
        )
        return list(values.cpu().split([len(text) - 1 for text in texts]))

    def _alone(self, sequence: Tensor) -> Float[Tensor, " scored"]:
        ids = sequence.to(self._model.device)
        logits = self._model(input_ids=ids[None], use_cache=False).logits[0, :-1]
        return token_log_likelihood(logits, ids[1:]).float().cpu()
