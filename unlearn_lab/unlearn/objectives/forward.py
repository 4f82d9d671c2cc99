"""Runs the model for the objectives, beside the answers of the target, computed once."""

import copy
import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryFile

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from unlearn_lab.data.batch import Sequences, Tokens, pad, to_device
from unlearn_lab.models.causal_lm import Head, by_chunks, hidden_states, labels, predicted
from unlearn_lab.unlearn.objectives.likelihood import sequence_sum, token_log_likelihood
from unlearn_lab.unlearn.objectives.objective import CompareLogits
from unlearn_lab.unlearn.ranks import batch_mean


@dataclass(frozen=True)
class _Stored:
    """Last hidden states of a split in a mapped file; those of text i end at row `ends[i]`."""

    states: Float[Tensor, "tokens hidden"]
    ends: Sequence[int]

    def of(self, text: int) -> Float[Tensor, "tokens hidden"]:
        """One text's, as a view."""
        return self.states[self.ends[text - 1] if text else 0 : self.ends[text]]


class Reference:
    """The target's answers on whole splits, kept instead of a second copy of the model.

    Holds a sequence log-likelihood (float32) per text of the splits `likelihood_of`, and last
    hidden states (in the dtype they were computed in) per text of the splits `distribution_of`,
    with the target's head; the head is copied only where it will be trained.

    Hidden states lie on disk, in one file a split below `folder` (None: the system's folder for
    temporary files), which is mapped into memory: tokens x hidden size x bytes of the dtype, 13 GB
    for 1.6 million tokens of a 7B model in bfloat16. The files have no name, and their space is
    free again when the reference or its process ends, however that happens.
    """

    def __init__(self, model: PreTrainedModel, folder: Path | None) -> None:
        self._model = model
        self._folder = folder
        self._likelihoods: dict[str, Tensor] = {}
        self._hidden: dict[str, _Stored] = {}
        self.head = Head(model)
        if any(weight.requires_grad for weight in self.head.parameters()):
            self.head.linear = copy.deepcopy(self.head.linear).requires_grad_(False)

    @torch.no_grad()
    def remember(
        self, role: str, sequences: Sequences, pad_id: int, *, batch_size: int, distribution: bool
    ) -> None:
        """One pass of the untrained model over a split."""
        batches = [
            range(start, min(start + batch_size, len(sequences)))
            for start in range(0, len(sequences), batch_size)
        ]
        tokens = (
            to_device(pad([sequences[i] for i in index], index, pad_id), self._model.device)
            for index in batches
        )
        if distribution:
            self._hidden[role] = self._store(tokens)
            return
        self._likelihoods[role] = torch.cat(
            [
                PolicyPrediction(self._model, batch, None).sequence_log_likelihood()
                for batch in tokens
            ]
        )

    def _store(self, batches: Iterable[Tokens]) -> _Stored:
        lengths: list[int] = []
        hidden = torch.empty(0, 0)
        with TemporaryFile(dir=self._folder) as file:
            for tokens in batches:
                hidden = hidden_states(self._model, tokens).cpu()
                lengths += predicted(tokens).sum(1).tolist()
                file.write(hidden.view(torch.uint8).numpy().data)
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch wants it writable
        states = torch.frombuffer(mapped, dtype=hidden.dtype).view(-1, hidden.shape[1])
        return _Stored(states, list(accumulate(lengths)))

    def log_likelihood(self, role: str, tokens: Tokens) -> Float[Tensor, " batch"]:
        """The sequence log-likelihoods of the batch's texts."""
        return self._likelihoods[role].to(tokens.ids.device)[tokens.index]

    def hidden(self, role: str, tokens: Tokens) -> Float[Tensor, "tokens hidden"]:
        """Last hidden states at the predicting positions of the batch, in row-major order."""
        stored = self._hidden[role]
        rows = [stored.states[:0], *(stored.of(i) for i in tokens.index.tolist())]
        return torch.cat(rows).to(tokens.ids.device)


class PolicyPrediction:
    """The model's view of a batch; each answer is computed once, from one pass through blocks."""

    def __init__(self, model: PreTrainedModel, tokens: Tokens, reference: Reference | None) -> None:
        self._model = model
        self._tokens = tokens
        self._reference = reference
        self._head = Head(model)
        self._right: Tensor | None = None

    @cached_property
    def hidden(self) -> Float[Tensor, "tokens hidden"]:
        """Last hidden states at the predicting positions."""
        return hidden_states(self._model, self._tokens)

    @property
    def num_tokens(self) -> Int[Tensor, " batch"]:
        """How many tokens of each sequence are predicted, padding not among them.

        That is its length less one; a sequence is a chunk (`trainer.chunking`) of this process's
        share of the batch, as in `sequence_log_likelihood`.
        """
        return predicted(self._tokens).sum(1)

    def token_log_likelihood(self) -> Float[Tensor, " tokens"]:
        """Log p of every predicted token, in nats."""
        return self._scored

    def sequence_log_likelihood(self) -> Float[Tensor, " batch"]:
        """Each sequence's sum of token log-likelihoods, in nats."""
        return sequence_sum(self.token_log_likelihood(), predicted(self._tokens))

    def against_reference(self, compare: CompareLogits, role: str) -> Float[Tensor, " tokens"]:
        """`compare` of every predicted token of a batch of the split `role`.

        Raises `ValueError` when the reference has not remembered that split.
        """
        reference = self._reference
        if reference is None:
            raise ValueError(
                "no reference was remembered: the objective must name the split in distribution_of"
            )

        def both(hidden: Tensor, before: Tensor, label: Tensor) -> tuple[Tensor, ...]:
            logits = self._head(hidden)
            return compare(frozen(before), logits), logits.argmax(-1) == label

        before = reference.hidden(role, self._tokens)
        frozen = reference.head.to(before.device)
        values, self._right = by_chunks(
            both, [self.hidden, before, labels(self._tokens)], self._model.config.vocab_size
        )
        return values

    @property
    def accuracy(self) -> float:
        """Share of predicted tokens whose most likely token is the right one (a `batch_mean`)."""
        right = self._right
        if right is None:
            raise ValueError("no loss was computed yet, and the accuracy comes with it")
        return batch_mean(right.float()).item()

    @cached_property
    def _scored(self) -> Float[Tensor, " tokens"]:
        def score(hidden: Tensor, label: Tensor) -> tuple[Tensor, ...]:
            logits = self._head(hidden)
            return token_log_likelihood(logits, label), logits.argmax(-1) == label

        values, self._right = by_chunks(
            score, [self.hidden, labels(self._tokens)], self._model.config.vocab_size
        )
        return values


class ModelForward:
    """The `Forward` of one training step; remembers its predictions, for their accuracies."""

    def __init__(self, model: PreTrainedModel, reference: Reference | None) -> None:
        self._model = model
        self._reference = reference
        self._predictions: list[tuple[Tokens, PolicyPrediction]] = []

    def policy(self, tokens: Tokens) -> PolicyPrediction:
        """The trained model's prediction."""
        prediction = PolicyPrediction(self._model, tokens, self._reference)
        self._predictions.append((tokens, prediction))
        return prediction

    def reference_log_likelihood(self, tokens: Tokens) -> Float[Tensor, " batch"]:
        """The target's sequence log-likelihoods of a forget batch."""
        if self._reference is None:
            raise ValueError(
                "no reference was remembered: the objective must name the split in likelihood_of"
            )
        return self._reference.log_likelihood("forget", tokens)

    def accuracies(self, batch: Mapping[str, Tokens]) -> dict[str, float]:
        """Token accuracy (0..1) by role, of the roles that the objective ran the model on."""
        return {
            f"{role}_accuracy": prediction.accuracy
            for role, tokens in batch.items()
            for seen, prediction in self._predictions
            if seen is tokens
        }


def remember_reference(
    model: PreTrainedModel,
    splits: Mapping[str, Sequences],
    pad_id: int,
    *,
    likelihood_of: Sequence[str],
    distribution_of: Sequence[str],
    batch_size: int,
    folder: Path | None = None,
) -> Reference | None:
    """The target's answers on the splits that the objective compares with, or None without any.

    Long ones lie on disk below `folder`; see `Reference`.
    """
    if not likelihood_of and not distribution_of:
        return None
    reference = Reference(model, folder)
    for role in (*likelihood_of, *distribution_of):
        reference.remember(
            role, splits[role], pad_id, batch_size=batch_size, distribution=role in distribution_of
        )
    return reference
