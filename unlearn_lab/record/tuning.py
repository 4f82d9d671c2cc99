"""What a search for hyper-parameters maximises: one number for each record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from unlearn_lab.config.build import build
from unlearn_lab.record.leaf import RECOVERED, Record, score

_PRECISIONS = {"full": ("full",), "quantized": ("quantized",), "worse": ("full", "quantized")}


@runtime_checkable
class TuneTarget(Protocol):
    """What `tune` may name: a number for a record, the higher the better."""

    def require_measured(self, *, control: bool, quantized: bool) -> None:
        """Raises `ValueError` when a leaf will lack scores that the number is made from."""
        ...

    def __call__(self, record: Record) -> float:
        """The number; raises `ValueError` when the record lacks a score."""
        ...

    def spell(self, value: float) -> str:
        """The number in words."""
        ...


def tune_target(node: Mapping[str, Any] | None) -> TuneTarget | None:
    """What `tune` describes, None where it is null; raises `Refused`."""
    return None if node is None else build(node, TuneTarget, "tune")


@dataclass(frozen=True, kw_only=True)
class ForgetQuality:
    """100 minus the mean excess over the retrain control, as long as utility is kept.

    In one precision p, with M in VerbMem and KnowMem on the forget set (0-100):

    - quality_p = 100 - mean over M of max(0, M_unlearned,p - M_retrain,p), from 0 to 100
    - shortfall_p = utility_share * Utility_target,p - Utility_unlearned,p, in points

    A trial with no shortfall above 0 is worth its quality; any other is worth minus its shortfall,
    which is below every quality and rises as utility does (the TPE of Optuna 2 knows no
    constraints). With `precision=worse` the lower quality and the larger shortfall count.
    Knowing less than the control of one of M does not make up for knowing more of the other.
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
        """Raises `ValueError` without a retrain control, or a quantizer where one is needed."""
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
        """From -100 to 100; raises `ValueError` when the record lacks a score."""
        precisions = _PRECISIONS[self.precision]
        shortfall = max(self._shortfall(record, precision) for precision in precisions)
        if shortfall > 0:
            return -shortfall
        return min(_quality(record, precision) for precision in precisions)

    def spell(self, value: float) -> str:
        """A quality, or by how many points utility falls short."""
        if value < 0:
            share = f"{100 * self.utility_share:g} %"
            return f"utility is {-value:z.1f} points below {share} of the target's"
        return f"forget quality {value:z.1f} of 100"

    def _shortfall(self, record: Record, precision: str) -> float:
        wanted = self.utility_share * _known(record, "target", precision, "utility")
        return wanted - _known(record, "unlearned", precision, "utility")


def _quality(record: Record, precision: str) -> float:
    """From 0 (all of it known, the control knows nothing) to 100 (no better known than by it)."""
    excess = [
        _known(record, "unlearned", precision, metric)
        - _known(record, "retrain", precision, metric)
        for metric in RECOVERED
    ]
    return 100 - sum(max(0.0, each) for each in excess) / len(excess)


def _known(record: Record, who: str, precision: str, metric: str) -> float:
    found = score(record, who, precision, metric)
    if found is None:
        raise ValueError(f"tune: the record has no score {who}.{precision}.{metric}")
    return found
