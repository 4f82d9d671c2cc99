"""Finds the settings that distinguish leaves beyond method, optimizer and quantizer."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from unlearn_lab.record.leaf import CHOICES, Record, text

_CONTEXT = ("seed", "model", "dataset")
_OF_QUANTIZERS = ("config.quant.", "config.generic_text.", "config.export")
NEVER = (
    "config.runtime.",
    "config.report.",
    "config.sweep",
    "config.trainer.watch.",
    "config.quant.calibration.text",
)
"""Settings that distinguish no leaves; `generic_text` and the source cover calibration text."""


def swept_keys(records: Sequence[Record]) -> tuple[str, ...]:
    """Returns the keys worth a column: seed, model and dataset if they vary, then other settings.

    A setting that follows from the choices (every NPO leaf has a beta) is not swept; of several
    that always change together, only the first is returned.
    """
    partitions = {_partition(records, (key,)) for key in ("method", "optimizer", "quant")}
    chosen: list[str] = []
    for key in (*_CONTEXT, *_candidates(records)):
        partition = _partition(records, (key,))
        if key in CHOICES or key == "seed":
            swept = len(set(partition)) > 1
        else:
            swept = partition not in partitions and _varies_within_choices(records, key)
        if swept:
            chosen.append(key)
            partitions.add(partition)
    return tuple(chosen)


def heading(key: str, keys: Sequence[str]) -> str:
    """Returns the shortest suffix of a setting's path that is unique among `keys`."""
    for obvious in ("._target_", ".source"):  # a choice is named after its parent
        if key.endswith(obvious):
            return heading(key.removesuffix(obvious), keys)
    parts = key.split(".")
    for start in range(len(parts) - 1, 0, -1):
        tail = ".".join(parts[start:])
        if not any(other != key and f".{other}".endswith(f".{tail}") for other in keys):
            return tail
    return key


def training(record: Record) -> str:
    """Returns the key of the unlearn stage: the same for all quantizers of one model."""
    return text(record, "stages.unlearn")


@dataclass(frozen=True, kw_only=True)
class Names:
    """Display names of leaves in sentences and plots: the method and whatever else varies.

    Attributes:
        keys: the swept settings.
        of_leaves: those that vary among the leaves of one unlearned model.
        of_quantizers: those of quantizers.
        several_optimizers: whether the optimizer is part of a name.
    """

    keys: tuple[str, ...]
    of_leaves: frozenset[str]
    of_quantizers: frozenset[str]
    several_optimizers: bool

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Names":
        """Creates names that distinguish these records."""
        keys = swept_keys(records)
        quantizers = frozenset(key for key in keys if key.startswith(_OF_QUANTIZERS))
        return cls(
            keys=keys,
            of_leaves=_varying_in_a_training(records, keys) - quantizers,
            of_quantizers=quantizers,
            several_optimizers=len({text(record, "optimizer") for record in records}) > 1,
        )

    def model(self, record: Record) -> str:
        """Returns the unlearned model's name, independent of quantizer and evaluation."""
        parts = [text(record, "method")]
        parts += [f"+ {text(record, 'optimizer')}"] if self.several_optimizers else []
        others = self.of_leaves | self.of_quantizers
        return " ".join([*parts, *self._settings(record, set(self.keys) - others)])

    def setting(self, record: Record) -> str:
        """Returns the model's name without its seed."""
        return replace(self, keys=tuple(key for key in self.keys if key != "seed")).model(record)

    def quantizer(self, record: Record) -> str:
        """Returns the quantizer with those of its settings that vary."""
        return " ".join([text(record, "quant"), *self._settings(record, self.of_quantizers)])

    def leaf(self, record: Record) -> str:
        """Returns the model's name, its quantizer, and the other settings of the leaf that vary."""
        parts = [self.model(record), self.quantizer(record)]
        return " · ".join([*parts, *self._settings(record, self.of_leaves)])

    def _settings(self, record: Record, chosen: Collection[str]) -> list[str]:
        """Formats the chosen settings, without those that the record does not have."""
        shown = [key for key in self.keys if key in chosen and key in record]
        return [f"{heading(key, self.keys)}={text(record, key)}" for key in shown]


def _varying_in_a_training(records: Sequence[Record], keys: Sequence[str]) -> frozenset[str]:
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        for key in keys:
            values[key, training(record)].add(_value(record, (key,)))
    return frozenset(key for (key, _), found in values.items() if len(found) > 1)


def _candidates(records: Sequence[Record]) -> list[str]:
    keys = {key for record in records for key in record if key.startswith("config.")}
    return sorted(key for key in keys if not key.startswith(NEVER))


def _varies_within_choices(records: Sequence[Record], key: str) -> bool:
    values: dict[str, set[str]] = defaultdict(set)
    for record in records:
        values[_value(record, (*CHOICES, "seed"))].add(_value(record, (key,)))
    return any(len(different) > 1 for different in values.values())


def _partition(records: Sequence[Record], keys: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers the records by value as they appear: equal for settings that change together."""
    seen: dict[str, int] = {}
    return tuple(seen.setdefault(_value(record, keys), len(seen)) for record in records)


def _value(record: Record, keys: tuple[str, ...]) -> str:
    return json.dumps([record.get(key) for key in keys], sort_keys=True, default=str)
