"""Says what became of a model: destroyed, not forgotten, or forgotten, and for how long."""

from dataclasses import dataclass
from typing import Literal

from unlearn_lab.report.leaf import RECOVERED, Record, is_quantized, score

Verdict = Literal[
    "destroyed", "not forgotten", "forgotten", "comes back", "stays forgotten", "not judged"
]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Where one verdict ends and the next begins; scores are in points of 0-100.

    `destroyed_share`: below this share of the target's utility, in full precision, a model is
    destroyed. `forgotten_margin`: a memory score more than this many points above the retrain
    control's is not forgotten. `return_margin`: a quantized memory score at least this many points
    above both the model's own full-precision score and the quantized retrain control has come back.
    """

    destroyed_share: float
    forgotten_margin: float
    return_margin: float

    def __post_init__(self) -> None:
        """Refuses what cannot be a share or a margin."""
        if not 0 <= self.destroyed_share <= 1:
            raise ValueError(
                f"report.thresholds.destroyed_share={self.destroyed_share}: a share from 0 to 1"
            )
        for name in ("forgotten_margin", "return_margin"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"report.thresholds.{name}={getattr(self, name)}: a margin is 0 points or more"
                )


def verdict(record: Record, thresholds: Thresholds) -> Verdict:
    """What became of the record's unlearned model.

    A destroyed model has lost the forget set with everything else, so it is never called
    forgotten, and the words about coming back are kept for models that had forgotten. Without the
    scores that a verdict rests on (VerbMem or KnowMem of the model and of retrain, and the
    utilities) it is "not judged"; nor is one whose target knew no more of the forget set than the
    retrain control, so that there was nothing to forget.
    """
    if _never_knew(record, thresholds):
        return "not judged"
    destroyed = _destroyed(record, thresholds)
    remembered = [_above_retrain(record, "unlearned", metric) for metric in RECOVERED]
    known = [margin for margin in remembered if margin is not None]
    if destroyed:
        return "destroyed"
    if destroyed is None or not known:
        return "not judged"
    if max(known) > thresholds.forgotten_margin:
        return "not forgotten"
    return _after_forgetting(record, thresholds) if is_quantized(record) else "forgotten"


def _after_forgetting(record: Record, thresholds: Thresholds) -> Verdict:
    returns = [_comes_back(record, metric, thresholds) for metric in RECOVERED]
    if any(returns):
        return "comes back"
    return "not judged" if all(answer is None for answer in returns) else "stays forgotten"


def not_judged_because(record: Record, thresholds: Thresholds) -> str:
    """Why a record that is "not judged" is not, as a clause."""
    if _never_knew(record, thresholds):
        return "the target knows no more of the forget set than the retrain control"
    known = [metric for metric in RECOVERED if _full(record, "unlearned", metric) is not None]
    if not known:
        return "neither VerbMem nor KnowMem was measured"
    if all(_full(record, "retrain", metric) is None for metric in known):
        return "there is no retrain control to tell forgetting by"
    if any(_full(record, who, "utility") is None for who in ("unlearned", "target")):
        return "without Utility a destroyed model cannot be told from one that has forgotten"
    return "the model or the retrain control has no quantized scores"


def forgot(word: Verdict) -> bool:
    """Whether a verdict says that the full-precision model had forgotten."""
    return word in ("forgotten", "comes back", "stays forgotten")


def returned_metrics(record: Record, thresholds: Thresholds) -> tuple[str, ...]:
    """The metrics that came back, whatever the full-precision model was."""
    return tuple(metric for metric in RECOVERED if _comes_back(record, metric, thresholds))


def _never_knew(record: Record, thresholds: Thresholds) -> bool:
    """Whether the target, too, passes for a model that has forgotten."""
    above = [_above_retrain(record, "target", metric) for metric in RECOVERED]
    known = [margin for margin in above if margin is not None]
    return bool(known) and max(known) <= thresholds.forgotten_margin


def _destroyed(record: Record, thresholds: Thresholds) -> bool | None:
    own, target = _full(record, "unlearned", "utility"), _full(record, "target", "utility")
    return None if own is None or target is None else own < thresholds.destroyed_share * target


def _full(record: Record, who: str, metric: str) -> float | None:
    return score(record, who, "full", metric)


def _above_retrain(record: Record, who: str, metric: str) -> float | None:
    own, retrain = _full(record, who, metric), _full(record, "retrain", metric)
    return None if own is None or retrain is None else own - retrain


def _comes_back(record: Record, metric: str, thresholds: Thresholds) -> bool | None:
    full, quantized = (
        score(record, "unlearned", "full", metric),
        score(record, "unlearned", "quantized", metric),
    )
    retrain = score(record, "retrain", "quantized", metric)
    if full is None or quantized is None or retrain is None:
        return None
    return quantized - max(full, retrain) >= thresholds.return_margin
