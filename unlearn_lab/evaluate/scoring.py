"""Log-probabilities of a text's tokens, without the logits of a whole batch."""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from unlearn_lab.data.batch import Tokens, TrainingSequence, ids_of, pad, prompt_length, to_device
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
        self, texts: Sequence[TrainingSequence]
    ) -> list[tuple[Float[Tensor, " scored"], Bool[Tensor, " scored"]]]:
        """Returns log-probabilities of tokens, and which of them are the likeliest.

        Of a text all but the first, of an answer all after its question. In nats, float32; on the
        CPU.
        """
        tokens = to_device(pad(texts, range(len(texts)), _PADDING), self._model.device)
        if self._plain is None:
            first = Tokens(tokens.ids[:1, :_CHECKED], tokens.real[:1, :_CHECKED], tokens.index[:1])
            self._plain = has_plain_head(self._model, first)
        if not self._plain:
            return [self._alone(text) for text in texts]
        head = Head(self._model)
        hidden = hidden_states(self._model, tokens)
        values, hits = by_chunks(
            lambda hidden, label: _of_labels(head(hidden), label),
            [hidden, labels(tokens)],
            self._model.config.get_text_config().vocab_size,
        )
        lengths = tokens.predicted.sum(1).tolist()
        return list(zip(values.cpu().split(lengths), hits.cpu().split(lengths), strict=True))

    def _alone(
        self, text: TrainingSequence
    ) -> tuple[Float[Tensor, " scored"], Bool[Tensor, " scored"]]:
        ids, start = ids_of(text).to(self._model.device), prompt_length(text)
        logits = self._model(input_ids=ids[None], use_cache=False).logits[0, start - 1 : -1]
        values, hits = _of_labels(logits, ids[start:])
        return values.cpu(), hits.cpu()


def _of_labels(
    logits: Float[Tensor, "tokens vocabulary"], label: Int[Tensor, " tokens"]
) -> tuple[Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Returns the log-probabilities of the labels, and whether no token is likelier."""
    return token_log_likelihood(logits, label).float(), label_is_likeliest(logits, label)
