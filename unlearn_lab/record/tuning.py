"""Objective that a hyper-parameter search maximises: one number per record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from unlearn_lab.config.build import build
from unlearn_lab.record.leaf import Record, memories, score, utility

_PRECISIONS = {"full": ("full",), "quantized": ("quantized",), "worse": ("full", "quantized")}


@runtime_checkable
class TuneTarget(Protocol):
    """Objective that `tune` may name: maps a record to a number, higher is better."""

    def require_measured(self, *, control: bool, quantized: bool) -> None:
        """Raises `ValueError` when a leaf will lack scores that the objective needs."""
        ...

    def __call__(self, record: Record) -> float:
        """Returns the objective value; raises `ValueError` when the record lacks a score."""
        ...

    def spell(self, value: float) -> str:
        """Describes the value in words."""
        ...


def tune_target(node: Mapping[str, Any] | None) -> TuneTarget | None:
    """Builds the objective that `tune` describes, None where it is null; raises `Refused`."""
    return None if node is None else build(node, TuneTarget, "tune")


@dataclass(frozen=True, kw_only=True)
class ForgetQuality:
    """Scores 100 minus the mean excess over the retrain control, as long as utility is kept.

    In one precision p, with M in the metrics of memory (MUSE: VerbMem and KnowMem; 0-100):

    - quality_p = 100 - mean over M of max(0, M_unlearned,p - M_retrain,p), from 0 to 100
    - shortfall_p = utility_share * Utility_target,p - Utility_unlearned,p, in points

    The value is the quality where no shortfall is above 0, otherwise minus the shortfall, which is
    below every quality and rises with utility (the TPE of Optuna 2 has no constraints). With
    `precision=worse`, the lower quality and the larger shortfall count. Falling below the control
    on one metric does not offset exceeding it on the other.

    Attributes:
        precision: `full`, `quantized` or `worse`.
        utility_share: share of the target's utility that must be kept, 0 to 1.
    """

    precision: str
    utility_share: float

    def __post_init__(self) -> None:
        """Checks the settings; raises `ValueError`."""
        if self.precision not in _PRECISIONS:
            raise ValueError(f"precision={self.precision}: must be one of {', '.join(_PRECISIONS)}")
        if not 0 <= self.utility_share <= 1:
            raise ValueError(f"utility_share={self.utility_share}: must be a share from 0 to 1")

    def require_measured(self, *, control: bool, quantized: bool) -> None:
        """Raises `ValueError` without a control, or without a quantizer where one is needed."""
        if not control:
            raise ValueError(
                "tune: compares with the retrain control, and there is none; give model.retrain"
            )
        if not quantized and self.precision != "full":
            raise ValueError(
                f"tune.precision={self.precision}: quant=none has scores in full precision only; "
                "choose a quantizer, or tune.precision=full"
            )

    def __call__(self, record: Record) -> float:
        """Returns a value from -100 to 100; raises `ValueError` when the record lacks a score."""
        precisions = _PRECISIONS[self.precision]
        shortfall = max(self._shortfall(record, precision) for precision in precisions)
        if shortfall > 0:
            return -shortfall
        return min(_quality(record, precision) for precision in precisions)

    def spell(self, value: float) -> str:
        """Describes the quality, or by how many points utility falls short."""
        if value < 0:
            share = f"{100 * self.utility_share:g} %"
            return f"utility is {-value:z.1f} points below {share} of the target's"
        return f"forget quality {value:z.1f} of 100"

    def _shortfall(self, record: Record, precision: str) -> float:
        metric = utility(record)
        if metric is None:
            raise ValueError("tune: eval.utility is null; name the metric of utility")
        wanted = self.utility_share * _known(record, "target", precision, metric)
        return wanted - _known(record, "unlearned", precision, metric)


def _quality(record: Record, precision: str) -> float:
    """Returns 100 at or below the control's scores, 0 at 100 points above them."""
    excess = [
        _known(record, "unlearned", precision, metric)
        - _known(record, "retrain", precision, metric)
        for metric in memories(record)
    ]
    if not excess:
        raise ValueError("tune: eval.memories is empty; name a metric of the forget set")
    return 100 - sum(max(0.0, each) for each in excess) / len(excess)


def _known(record: Record, who: str, precision: str, metric: str) -> float:
    found = score(record, who, precision, metric)
    if found is None:
        raise ValueError(f"tune: the record has no score {who}.{precision}.{metric}")
    return found
