"""Builds training batches: padded token sequences by role (forget, retain, learn), in order."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class BatchSize(NamedTuple):
    """Numbers of sequences and of predicted tokens in a batch."""

    sequences: int
    tokens: int


@dataclass(frozen=True)
class Answered:
    """Token ids of a prompt and its answer, of which only the answer is predicted.

    Attributes:
        ids: token ids.
        prompt: number of tokens before the answer.
    """

    ids: Int[Tensor, " tokens"]
    prompt: int

    def __len__(self) -> int:
        return len(self.ids)


class Tokens(NamedTuple):
    """A right-padded batch of token sequences, or a part of one.

    Attributes:
        ids: token ids.
        real: False at padding.
        index: each sequence's index in its split.
        whole: of a part (`split`), the size of the batch on all ranks; None for a batch.
        prompt: tokens at the start of each sequence that are given, not predicted; None for 1.
    """

    ids: Int[Tensor, "batch length"]
    real: Bool[Tensor, "batch length"]
    index: Int[Tensor, " batch"]  # pyright: ignore[reportIncompatibleMethodOverride] no tuple.index
    whole: BatchSize | None = None
    prompt: Int[Tensor, " batch"] | None = None

    @property
    def predicted(self) -> Bool[Tensor, "batch positions"]:
        """Which positions predict a token; position t predicts token t + 1."""
        real = self.real[:, 1:]
        if self.prompt is None:
            return real
        positions = torch.arange(1, self.ids.shape[1], device=real.device)
        return real & (positions >= self.prompt[:, None])

    @property
    def size(self) -> BatchSize:
        """Size of the batch, also for a part of it."""
        if self.whole is not None:
            return self.whole
        return BatchSize(sequences=len(self.ids), tokens=int(self.predicted.sum()))


Batch = Mapping[str, Tokens]
Pairing = Literal["reshuffled", "modulo"]
TrainingSequence = Int[Tensor, " _"] | Answered
Sequences = Sequence[TrainingSequence]


def pad(sequences: Sequences, index: Sequence[int], pad_id: int) -> Tokens:
    """Right-pads sequences to the longest of them.

    Args:
        sequences: token ids, one tensor each, with or without a prompt; may be empty.
        index: each sequence's index in its split.
        pad_id: the padding token.
    """
    if not sequences:
        empty = torch.empty(0, 1)
        return Tokens(ids=empty.long(), real=empty.bool(), index=torch.empty(0).long())
    rows = [ids_of(sequence) for sequence in sequences]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    real = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
    prompts = [prompt_length(one) for one in sequences]
    return Tokens(
        ids=ids,
        real=real,
        index=torch.tensor(list(index)),
        prompt=torch.tensor(prompts) if max(prompts) > 1 else None,
    )


def pad_left(
    sequences: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
    """Returns left-padded sequences and their mask; the padding token is 0."""
    width = max(len(sequence) for sequence in sequences)
    tokens = torch.zeros((len(sequences), width), dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        tokens[row, width - len(sequence) :] = torch.tensor(list(sequence))
        mask[row, width - len(sequence) :] = True
    return tokens, mask


def ids_of(sequence: TrainingSequence) -> Int[Tensor, " _"]:
    """Returns the token ids, of the prompt as well."""
    return sequence.ids if isinstance(sequence, Answered) else sequence


def to_device(tokens: Tokens, device: torch.device) -> Tokens:
    """Returns the batch on another device."""
    return Tokens(
        tokens.ids.to(device),
        tokens.real.to(device),
        tokens.index.to(device),
        tokens.whole,
        None if tokens.prompt is None else tokens.prompt.to(device),
    )


def split(batch: Batch, micro_batch: int) -> list[Batch]:
    """Splits a batch into parts of at most `micro_batch` sequences of each role.

    A part is padded to the longest of its own sequences. A batch that fits is its only part.
    """
    longest = max(len(tokens.ids) for tokens in batch.values())
    if longest <= micro_batch:
        return [batch]
    starts = range(0, longest, micro_batch)
    return [
        {role: _part(tokens, start, start + micro_batch) for role, tokens in batch.items()}
        for start in starts
    ]


def _part(tokens: Tokens, start: int, end: int) -> Tokens:
    real = tokens.real[start:end]
    width = max(1, int(real.sum(1).max())) if len(real) else 1
    return Tokens(
        ids=tokens.ids[start:end, :width],
        real=real[:, :width],
        index=tokens.index[start:end],
        whole=tokens.size,
        prompt=None if tokens.prompt is None else tokens.prompt[start:end],
    )


def prompt_length(sequence: TrainingSequence) -> int:
    """Returns the number of tokens that are given; of a text the first one, BOS."""
    return sequence.prompt if isinstance(sequence, Answered) else 1


class PairedTexts(Dataset[Mapping[str, tuple[int, TrainingSequence]]]):
    """Sequences by role; an item is one sequence per role, addressed by one index per role."""

    def __init__(self, roles: Mapping[str, Sequences]) -> None:
        empty = [role for role, sequences in roles.items() if not sequences]
        if empty:
            raise ValueError(
                f"dataset: the {empty[0]} split is empty, so there is nothing to train on"
            )
        self.roles = roles

    def __getitem__(self, indices: Sequence[int]) -> Mapping[str, tuple[int, TrainingSequence]]:
        return {
            role: (index, sequences[index])
            for (role, sequences), index in zip(self.roles.items(), indices, strict=True)
        }

    def __len__(self) -> int:
        return len(next(iter(self.roles.values())))


class PairedOrder(Sampler[tuple[int, ...]]):
    """Sampler of one index per role; the order depends only on the seed and the epoch.

    The first role is shuffled every epoch. Every further role (retain) is paired with it:
    `reshuffled` walks through a permutation and draws a new one when it is used up, so that every
    sequence is seen; `modulo` takes the first role's index modulo the size, as MUSE's reference
    code does: the pairs never change, and half of NEWS' retain split is never seen.

    Args:
        sizes: number of sequences of each role; the first sets the length of an epoch.
        seed: seed of all permutations.
        pairing: how further roles are paired with the first.
    """

    def __init__(self, sizes: Sequence[int], seed: int, pairing: Pairing) -> None:
        self._sizes = tuple(sizes)
        self._seed = seed
        self._pairing = pairing
        self._epoch = 0
        self._skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch; Lightning calls this before each one."""
        self._epoch = epoch

    def skip(self, num: int) -> None:
        """Skips the first `num` items of the next iteration only, to resume within an epoch."""
        self._skipped = num

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        lead = self._shuffled(0, self._epoch)
        others = [self._partners(role, lead) for role in range(1, len(self._sizes))]
        skipped, self._skipped = self._skipped, 0
        yield from islice(zip(lead, *others, strict=True), skipped, None)

    def __len__(self) -> int:
        return self._sizes[0]

    def _partners(self, role: int, lead: Sequence[int]) -> list[int]:
        size = self._sizes[role]
        if self._pairing == "modulo":
            return [index % size for index in lead]
        positions = range(self._epoch * len(lead), (self._epoch + 1) * len(lead))
        decks = {
            deck: self._shuffled(role, deck)
            for deck in range(positions[0] // size, positions[-1] // size + 1)
        }
        return [decks[position // size][position % size] for position in positions]

    def _shuffled(self, role: int, deck: int) -> list[int]:
        name = f"{self._seed}/{role}/{deck}".encode()
        # torch's CPU generator reads 32 bits of a seed
        low_bits = int.from_bytes(hashlib.sha256(name).digest()[:4])
        generator = torch.Generator().manual_seed(low_bits)
        return torch.randperm(self._sizes[role], generator=generator).tolist()


class SharedBatches(Sampler[list[tuple[int, ...]]]):
    """Batch sampler of one rank: items rank, rank + num_ranks, ... of every global batch.

    Global batches do not depend on the world size. The ranks' shares of a batch differ by at most
    one sequence; of a short last batch, the last ranks may get none.

    Args:
        order: the order of training.
        size: sequences in a global batch.
        rank: this process' rank.
        num_ranks: the world size.
    """

    def __init__(self, order: PairedOrder, size: int, *, rank: int, num_ranks: int) -> None:
        self.sampler = order  # Lightning calls `set_epoch` on this attribute
        self._size = size
        self._rank = rank
        self._num_ranks = num_ranks

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        order = list(self.sampler)
        for start in range(0, len(order), self._size):
            yield order[start : start + self._size][self._rank :: self._num_ranks]

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self._size)


class Collate:
    """Pads the sequences of each role into `Tokens`."""

    def __init__(self, pad_id: int, roles: Iterable[str]) -> None:
        self._pad_id = pad_id
        self._roles = tuple(roles)

    def __call__(
        self, items: Sequence[Mapping[str, tuple[int, TrainingSequence]]]
    ) -> dict[str, Tokens]:
        """Returns the batch of each role."""
        return {
            role: pad(
                [item[role][1] for item in items], [item[role][0] for item in items], self._pad_id
            )
            for role in self._roles
        }
