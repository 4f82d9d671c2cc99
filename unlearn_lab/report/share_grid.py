"""Arranges recovered shares by model and quantizer, for plots and tables."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unlearn_lab.record.leaf import Record, is_quantized, recovery
from unlearn_lab.report.rows import natural
from unlearn_lab.report.swept import Names


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Recovered shares by model and quantizer.

    Attributes:
        models: row names.
        quantizers: column names.
        shares: shares of the leaves in each (model, quantizer) cell; None where undefined.
    """

    models: tuple[str, ...]
    quantizers: tuple[str, ...]
    shares: Mapping[tuple[str, str], Sequence[float | None]]


def share_grid(records: Sequence[Record], metric: str) -> Grid:
    """Returns the recovered shares of all quantized leaves; seeds of one setting share a cell."""
    names = Names.of(records)
    shares: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for record in records:
        if is_quantized(record):
            cell = (names.setting(record), names.quantizer(record))
            shares[cell].append(recovery(record, metric, "recovered_share"))
    return Grid(
        models=tuple(sorted({model for model, _ in shares}, key=natural)),
        quantizers=tuple(sorted({quant for _, quant in shares}, key=natural)),
        shares=shares,
    )
