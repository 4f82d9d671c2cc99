"""What a training step sees: padded token sequences by role (forget, retain, learn)."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class Tokens(NamedTuple):
    """A right-padded batch: token ids, which of them are real, sequences' places in their split."""

    ids: Int[Tensor, "batch length"]
    real: Bool[Tensor, "batch length"]
    index: Int[Tensor, " batch"]  # pyright: ignore[reportIncompatibleMethodOverride] no tuple.index


Batch = Mapping[str, Tokens]
Pairing = Literal["reshuffled", "modulo"]
Sequences = Sequence[Int[Tensor, " _"]]


def pad(sequences: Sequences, index: Sequence[int], pad_id: int) -> Tokens:
    """Right-pads sequences to the longest of them; there may be none."""
    if not sequences:
        empty = torch.empty(0, 1)
        return Tokens(ids=empty.long(), real=empty.bool(), index=torch.empty(0).long())
    ids = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    real = torch.arange(ids.shape[1])[None, :] < lengths[:, None]
    return Tokens(ids=ids, real=real, index=torch.tensor(list(index)))


def to_device(tokens: Tokens, device: torch.device) -> Tokens:
    """The same batch on another device."""
    return Tokens(*(tensor.to(device) for tensor in tokens))


class PairedTexts(Dataset[Mapping[str, tuple[int, Tensor]]]):
    """Sequences by role; an item is one sequence of each role, addressed by one index per role."""

    def __init__(self, roles: Mapping[str, Sequences]) -> None:
        empty = [role for role, sequences in roles.items() if not sequences]
        if empty:
            raise ValueError(
                f"dataset: the {empty[0]} split is empty, so there is nothing to train on"
            )
        self.roles = roles

    def __getitem__(self, indices: Sequence[int]) -> Mapping[str, tuple[int, Tensor]]:
        return {
            role: (index, sequences[index])
            for (role, sequences), index in zip(self.roles.items(), indices, strict=True)
        }

    def __len__(self) -> int:
        return len(next(iter(self.roles.values())))


class PairedOrder(Sampler[tuple[int, ...]]):
    """The order of training, a function of the seed and the epoch alone.

    The first role is shuffled every epoch. `pairing` says which sequence of every further one
    (retain) goes with it: dealt from a deck that is `reshuffled` whenever it is used up, so that
    all of it is seen; or the first role's index `modulo` the number there, as in MUSE's reference
    code: always the same pairs, and half of NEWS' retain is never seen.
    """

    def __init__(self, sizes: Sequence[int], seed: int, pairing: Pairing) -> None:
        self._sizes = tuple(sizes)
        self._seed = seed
        self._pairing = pairing
        self._epoch = 0
        self._skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    def skip(self, num: int) -> None:
        """Leaves out so many items at the beginning of the next pass, and of that pass only."""
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
    """One process' share of every batch of `size`: those at its place, then every so many further.

    The batches are the same however many processes share them; the shares of one differ by at most
    one sequence, and the last process may have none of a short last batch.
    """

    def __init__(self, order: PairedOrder, size: int, *, rank: int, num_ranks: int) -> None:
        self.sampler = order  # Lightning looks here for `set_epoch`
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

    def __call__(self, items: Sequence[Mapping[str, tuple[int, Tensor]]]) -> dict[str, Tokens]:
        """One batch by role."""
        return {
            role: pad(
                [item[role][1] for item in items], [item[role][0] for item in items], self._pad_id
            )
            for role in self._roles
        }
