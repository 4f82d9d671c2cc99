"""Finds the settings that tell leaves apart beyond method, optimizer and quantizer."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_lab.report.leaf import CHOICES, Record, text

_CONTEXT = ("seed", "model", "dataset")
_NEVER = ("config.runtime.", "config.report.", "config.sweep", "config.quant.calibration.text")
"""Settings that tell no leaves apart; calibration text is told by its source and `generic_text`."""


def swept_keys(records: Sequence[Record]) -> tuple[str, ...]:
    """Record keys worth a column: seed, model and dataset where they differ, then further settings.

    A setting that only follows from the choices (every NPO leaf has a beta) is not swept, and of
    several that always change together the first is enough.
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
    """The shortest tail of a setting's path that no other of `keys` ends with."""
    for obvious in ("._target_", ".source"):  # what is chosen is called like the place it is for
        if key.endswith(obvious):
            return heading(key.removesuffix(obvious), keys)
    parts = key.split(".")
    for start in range(len(parts) - 1, 0, -1):
        tail = ".".join(parts[start:])
        if not any(other != key and f".{other}".endswith(f".{tail}") for other in keys):
            return tail
    return key


@dataclass(frozen=True, kw_only=True)
class Names:
    """What leaves are called in sentences and plots: the method and whatever else differs."""

    keys: tuple[str, ...]
    several_optimizers: bool

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Names":
        """Names that tell these records apart."""
        optimizers = {text(record, "optimizer") for record in records}
        return cls(keys=swept_keys(records), several_optimizers=len(optimizers) > 1)

    def model(self, record: Record) -> str:
        """The name of the unlearned model, whatever it was quantized with."""
        return self._join(record, self.keys)

    def setting(self, record: Record) -> str:
        """The model's name without its seed."""
        return self._join(record, [key for key in self.keys if key != "seed"])

    def leaf(self, record: Record) -> str:
        """The model's name and its quantizer."""
        return f"{self.model(record)} · {text(record, 'quant')}"

    def _join(self, record: Record, keys: Sequence[str]) -> str:
        parts = [text(record, "method")]
        parts += [f"+ {text(record, 'optimizer')}"] if self.several_optimizers else []
        parts += [f"{heading(key, self.keys)}={text(record, key)}" for key in keys]
        return " ".join(parts)


def _candidates(records: Sequence[Record]) -> list[str]:
    keys = {key for record in records for key in record if key.startswith("config.")}
    return sorted(key for key in keys if not key.startswith(_NEVER))


def _varies_within_choices(records: Sequence[Record], key: str) -> bool:
    values: dict[str, set[str]] = defaultdict(set)
    for record in records:
        values[_value(record, (*CHOICES, "seed"))].add(_value(record, (key,)))
    return any(len(different) > 1 for different in values.values())


def _partition(records: Sequence[Record], keys: tuple[str, ...]) -> tuple[int, ...]:
    """Which records agree, whatever the values: settings that change together are equal here."""
    seen: dict[str, int] = {}
    return tuple(seen.setdefault(_value(record, keys), len(seen)) for record in records)


def _value(record: Record, keys: tuple[str, ...]) -> str:
    return json.dumps([record.get(key) for key in keys], sort_keys=True, default=str)
