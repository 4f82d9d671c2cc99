"""Policy forward passes, with reference outputs precomputed from the target."""

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

from unlearn_lab.data.batch import Sequences, Tokens, pad, to_device
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.models.causal_lm import Head, by_chunks, hidden_states, labels, predicted
from unlearn_lab.unlearn.objectives.likelihood import (
    label_is_likeliest,
    sequence_sum,
    token_log_likelihood,
)
from unlearn_lab.unlearn.objectives.objective import CompareLogits
from unlearn_lab.unlearn.ranks import token_mean


@dataclass(frozen=True)
class _Stored:
    """Last hidden states of a split, memory-mapped; those of text i end at row `ends[i]`."""

    states: Float[Tensor, "tokens hidden"]
    ends: Sequence[int]

    def of(self, text: int) -> Float[Tensor, "tokens hidden"]:
        """Returns a view of one text's hidden states."""
        return self.states[self.ends[text - 1] if text else 0 : self.ends[text]]


class Reference:
    """Outputs of the target on whole splits, stored instead of a second copy of the model.

    Contains a sequence log-likelihood (float32) per text of the splits `likelihood_of`, last hidden
    states (in the dtype of the forward pass) per text of the splits `distribution_of`, and the
    target's head, which is copied only if it will be trained.

    Hidden states are stored on disk and memory-mapped, one file per split in `folder` (None: the
    system's temporary folder): tokens x hidden size x bytes per value, 13 GB for 1.6 million tokens
    of a 7B model in bfloat16. The files have no directory entry: their space is freed when the
    reference or its process ends, also after a crash.
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
        """Runs the model, before training, over a split and stores its outputs.

        Args:
            role: the split.
            sequences: token ids of each text.
            pad_id: the padding token.
            batch_size: sequences per forward pass.
            distribution: whether to store hidden states instead of sequence log-likelihoods.
        """
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
            # writable, as torch.frombuffer expects
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        states = torch.frombuffer(mapped, dtype=hidden.dtype).view(-1, hidden.shape[1])
        return _Stored(states, list(accumulate(lengths)))

    def log_likelihood(self, role: str, tokens: Tokens) -> Float[Tensor, " batch"]:
        """Returns the sequence log-likelihoods of the batch's texts, in nats."""
        return self._likelihoods[role].to(tokens.ids.device)[tokens.index]

    def hidden(self, role: str, tokens: Tokens) -> Float[Tensor, "tokens hidden"]:
        """Returns last hidden states at the batch's predicting positions, in row-major order."""
        stored = self._hidden[role]
        rows = [stored.states[:0], *(stored.of(i) for i in tokens.index.tolist())]
        return torch.cat(rows).to(tokens.ids.device)


class PolicyPrediction:
    """Outputs of the trained model on a batch, from a single pass through the blocks.

    Args:
        model: the model in training.
        tokens: the batch.
        reference: outputs of the target; None if `against_reference` is not used.
    """

    def __init__(self, model: PreTrainedModel, tokens: Tokens, reference: Reference | None) -> None:
        self._model = model
        self._tokens = tokens
        self._reference = reference
        self._head = Head(model)
        self._right: Tensor | None = None

    @cached_property
    def hidden(self) -> Float[Tensor, "tokens hidden"]:
        """Last hidden states at the predicting positions, in row-major order."""
        return hidden_states(self._model, self._tokens)

    @property
    def num_tokens(self) -> Int[Tensor, " batch"]:
        """Number of predicted tokens per sequence, without padding: its length minus one.

        A sequence is a chunk (`trainer.chunking`) in this rank's share of the batch, as in
        `sequence_log_likelihood`.
        """
        return predicted(self._tokens).sum(1)

    def token_log_likelihood(self) -> Float[Tensor, " tokens"]:
        """Returns log p of every predicted token, in nats, in row-major order."""
        return self._scored

    def sequence_log_likelihood(self) -> Float[Tensor, " batch"]:
        """Returns the sum of token log-likelihoods of each sequence, in nats."""
        return sequence_sum(self.token_log_likelihood(), predicted(self._tokens))

    def against_reference(self, compare: CompareLogits, role: str) -> Float[Tensor, " tokens"]:
        """Applies `compare` to the reference's and the policy's logits at every predicted token.

        `role` is the split of the batch. Raises `ValueError` without a reference, and `KeyError`
        for a split whose hidden states it does not contain.
        """
        reference = self._reference
        if reference is None:
            raise ValueError(
                "no reference was remembered: the objective must name the split in distribution_of"
            )

        def both(hidden: Tensor, before: Tensor, label: Tensor) -> tuple[Tensor, ...]:
            logits = self._head(hidden)
            return compare(frozen(before), logits), label_is_likeliest(logits, label)

        before = reference.hidden(role, self._tokens)
        frozen = reference.head.to(before.device)
        values, self._right = by_chunks(
            both, [self.hidden, before, labels(self._tokens)], self._model.config.vocab_size
        )
        return values

    @property
    def accuracy(self) -> float:
        """Share (0..1) of predicted tokens than which none is likelier, as a `token_mean`.

        It is computed along with a loss; raises `ValueError` before the first.
        """
        right = self._right
        if right is None:
            raise ValueError("no loss was computed yet, and the accuracy comes with it")
        return token_mean(right.float(), self._tokens).item()

    @cached_property
    def _scored(self) -> Float[Tensor, " tokens"]:
        values, self._right = by_chunks(
            self._score, [self.hidden, labels(self._tokens)], self._model.config.vocab_size
        )
        return values

    def _score(self, hidden: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        logits = self._head(hidden)
        return token_log_likelihood(logits, label), label_is_likeliest(logits, label)


class ModelForward:
    """The `Forward` of one training step; keeps its predictions for `accuracies`."""

    def __init__(self, model: PreTrainedModel, reference: Reference | None) -> None:
        self._model = model
        self._reference = reference
        self._predictions: list[tuple[Tokens, PolicyPrediction]] = []

    def policy(self, tokens: Tokens) -> PolicyPrediction:
        """Returns the trained model's predictions on a batch, computed on demand."""
        prediction = PolicyPrediction(self._model, tokens, self._reference)
        self._predictions.append((tokens, prediction))
        return prediction

    def reference_log_likelihood(self, tokens: Tokens) -> Float[Tensor, " batch"]:
        """Returns the target's sequence log-likelihoods of a forget batch, in nats.

        Raises `ValueError` without a reference.
        """
        if self._reference is None:
            raise ValueError(
                "no reference was remembered: the objective must name the split in likelihood_of"
            )
        return self._reference.log_likelihood("forget", tokens)

    def accuracies(self, batch: Mapping[str, Tokens]) -> dict[str, float]:
        """Returns token accuracies (0..1) of the roles that the objective ran the model on."""
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
    """Precomputes the target's outputs that an objective needs; returns None if it needs none.

    Args:
        model: the target, before training.
        splits: token ids of each text, by role.
        pad_id: the padding token.
        likelihood_of: splits whose sequence log-likelihoods are stored.
        distribution_of: splits whose last hidden states are stored.
        batch_size: sequences per forward pass.
        folder: where hidden states are stored (see `Reference`).
    """
    if not likelihood_of and not distribution_of:
        return None
    reference = Reference(model, folder)
    for distribution, roles in ((False, likelihood_of), (True, distribution_of)):
        for role in roles:
            reference.remember(
                role, splits[role], pad_id, batch_size=batch_size, distribution=distribution
            )
    return reference
