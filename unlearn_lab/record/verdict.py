"""Judges an unlearned model: destroyed, not forgotten or forgotten, and its quantizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unlearn_lab.record.leaf import Record, is_quantized, memories, score, title, utility

Verdict = Literal[
    "destroyed",
    "not forgotten",
    "forgotten",
    "comes back",
    "stays forgotten",
    "destroyed by the quantizer",
    "quantizer keeps too little to tell",
    "not judged",
]
FORGOT: tuple[Verdict, ...] = (
    "forgotten",
    "comes back",
    "stays forgotten",
    "destroyed by the quantizer",
    "quantizer keeps too little to tell",
)
"""Verdicts on models that had forgotten in full precision."""

_WHO = ("unlearned", "target", "retrain")
_CAUSES = ("corpus.overlap", "corpus.script", "corpus.answers")
"""Remarks on the corpus that may explain why no model scores on the forget set."""


@dataclass(frozen=True, kw_only=True)
class VerdictThresholds:
    """Thresholds between verdicts; scores are in points of 0-100.

    Attributes:
        destroyed_share: a model with less than this share of the target's full-precision utility
            is destroyed.
        forgotten_margin: a memory score more than this many points above the retrain control's is
            not forgotten.
        return_margin: a quantized memory score at least this many points above both the model's
            own full-precision score and the quantized retrain control's has come back.
    """

    destroyed_share: float
    forgotten_margin: float
    return_margin: float

    def __post_init__(self) -> None:
        """Raises `ValueError` for a share outside 0 to 1 or a negative margin."""
        if not 0 <= self.destroyed_share <= 1:
            raise ValueError(
                f"report.thresholds.destroyed_share={self.destroyed_share}: a share from 0 to 1"
            )
        for name in ("forgotten_margin", "return_margin"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"report.thresholds.{name}={getattr(self, name)}: a margin is 0 points or more"
                )


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict, and the figures behind it as a clause."""

    verdict: Verdict
    reason: str


def verdict(record: Record, thresholds: VerdictThresholds) -> Verdict:
    """Returns the verdict on the record's unlearned model, under its quantizer if it has one."""
    return judge(record, thresholds).verdict


def judge(record: Record, thresholds: VerdictThresholds) -> Judgement:
    """Judges the record's unlearned model, first in full precision and then quantized.

    A destroyed model has lost the forget set along with everything else, so it is never called
    forgotten, and the verdicts on quantization apply only to models that had forgotten. Memory that
    came back is evidence under any quantizer. Memory that did not come back is evidence only if the
    quantized model is still useful and the quantized target itself would count as coming back: a
    quantizer that destroys every model brings nothing back. A model is "not judged" when a needed
    score is missing (memory metrics of the model and of retrain, and the utilities), or when
    the target knew no more of the forget set than the retrain control.
    """
    before = judge_full(record, thresholds)
    if before.verdict != "forgotten" or not is_quantized(record):
        return before
    back = returned_metrics(record, thresholds)
    if back:
        return Judgement(verdict="comes back", reason=_returns(record, back))
    missing = _missing_quantized(record)
    if missing is not None:
        return Judgement(verdict="not judged", reason=missing)
    own, target = _utility(record, "unlearned", "quantized"), _utility(record, "target", "full")
    if own is not None and target is not None and own < thresholds.destroyed_share * target:
        share = f"{100 * thresholds.destroyed_share:g} %"
        fall = f"from {_points(_utility(record, 'unlearned', 'full'))} to {_points(own)}"
        reason = f"{_utility_title(record)} falls {fall}, below {share} of the target's "
        return Judgement(verdict="destroyed by the quantizer", reason=f"{reason}{_points(target)}")
    return _nothing_back(record, thresholds)


def judged(record: Record, thresholds: VerdictThresholds) -> dict[str, object]:
    """Returns the record with its `verdict` and `verdict_reason`."""
    found = judge(record, thresholds)
    return {**record, "verdict": found.verdict, "verdict_reason": found.reason}


def judge_full(record: Record, thresholds: VerdictThresholds) -> Judgement:
    """Judges the model in full precision alone."""
    missing = _missing_full(record, thresholds)
    if missing is not None:
        return Judgement(verdict="not judged", reason=missing)
    own, target = _utility(record, "unlearned", "full"), _utility(record, "target", "full")
    share = f"{100 * thresholds.destroyed_share:g} %"
    if own is not None and target is not None and own < thresholds.destroyed_share * target:
        below = f"below {share} of the target's {_points(target)}"
        reason = f"{_utility_title(record)} is {_points(own)}, {below}"
        return Judgement(verdict="destroyed", reason=reason)
    above = {metric: _above_retrain(record, "unlearned", metric) for metric in memories(record)}
    known = {metric: margin for metric, margin in above.items() if margin is not None}
    margin = f"{thresholds.forgotten_margin:g} points"
    kept = [metric for metric, points in known.items() if points > thresholds.forgotten_margin]
    beside = [_beside_retrain(record, metric) for metric in kept or known]
    if kept:
        reason = f"more than {margin} above the retrain control: {', '.join(beside)}"
        return Judgement(verdict="not forgotten", reason=reason)
    reason = f"at most {margin} above the retrain control: {', '.join(beside)}"
    return Judgement(verdict="forgotten", reason=reason)


def returned_metrics(record: Record, thresholds: VerdictThresholds) -> tuple[str, ...]:
    """Returns the metrics that came back, regardless of the full-precision verdict."""
    return tuple(
        metric
        for metric in memories(record)
        if _comes_back(record, "unlearned", metric, thresholds)
    )


def _nothing_back(record: Record, thresholds: VerdictThresholds) -> Judgement:
    """Judges a model whose memory did not come back: could a return have been observed?"""
    telling = [
        metric for metric in memories(record) if _comes_back(record, "target", metric, thresholds)
    ]
    margin = f"{thresholds.return_margin:g} points"
    mute = [metric for metric in _measured(record) if metric not in telling]
    weak = f"the quantized target has {_scores(record, 'target', 'quantized', mute)} itself"
    if not telling:
        return Judgement(
            verdict="quantizer keeps too little to tell",
            reason=f"a return by {margin} could not be seen: {weak}",
        )
    reason = f"no score rises by {margin}, though the quantized target still has " + _scores(
        record, "target", "quantized", telling
    )
    if mute:
        names = " and ".join(title(metric) for metric in mute)
        reason = f"{reason} ({names} cannot tell: {weak})"
    return Judgement(verdict="stays forgotten", reason=reason)


def _missing_full(record: Record, thresholds: VerdictThresholds) -> str | None:
    """Returns why the model cannot be judged in full precision; None if it can."""
    if _never_knew(record, thresholds):
        reason = "the target knows no more of the forget set than the retrain control"
        causes = [str(record[key]) for key in _CAUSES if record.get(key)]
        return f"{reason}, perhaps because {'; '.join(causes)}" if causes else reason
    known = [
        metric for metric in memories(record) if _full(record, "unlearned", metric) is not None
    ]
    if not known:
        return _nothing_measured([title(metric) for metric in memories(record)])
    if all(_full(record, "retrain", metric) is None for metric in known):
        return "there is no retrain control to tell forgetting by"
    if any(_utility(record, who, "full") is None for who in ("unlearned", "target")):
        return (
            f"without {_utility_title(record)} a destroyed model cannot be distinguished from one "
            "that has forgotten"
        )
    return None


def _missing_quantized(record: Record) -> str | None:
    """Returns why a forgotten model cannot be judged under its quantizer; None if it can."""
    if not _measured(record):
        return "the model, the target or the retrain control has no quantized scores"
    if _utility(record, "unlearned", "quantized") is None:
        return f"the model has no quantized {_utility_title(record)}"
    return None


def _measured(record: Record) -> list[str]:
    """Returns the memory metrics with all scores that are needed to judge a return."""
    needed = (("unlearned", "full"), *((who, "quantized") for who in _WHO))
    return [
        metric
        for metric in memories(record)
        if all(score(record, who, precision, metric) is not None for who, precision in needed)
    ]


def _never_knew(record: Record, thresholds: VerdictThresholds) -> bool:
    """Whether the target itself would count as having forgotten."""
    above = [_above_retrain(record, "target", metric) for metric in memories(record)]
    known = [margin for margin in above if margin is not None]
    return bool(known) and max(known) <= thresholds.forgotten_margin


def _comes_back(record: Record, who: str, metric: str, thresholds: VerdictThresholds) -> bool:
    """Whether the quantized model, or the quantized target in its place, counts as a return."""
    full, quantized, retrain = (
        score(record, "unlearned", "full", metric),
        score(record, who, "quantized", metric),
        score(record, "retrain", "quantized", metric),
    )
    if full is None or quantized is None or retrain is None:
        return False
    return quantized - max(full, retrain) >= thresholds.return_margin


def _nothing_measured(names: Sequence[str]) -> str:
    if not names:
        return "eval.memories names no metric of the forget set"
    if len(names) == 1:
        return f"{names[0]} was not measured"
    return f"neither {', '.join(names[:-1])} nor {names[-1]} was measured"


def _utility(record: Record, who: str, precision: str) -> float | None:
    metric = utility(record)
    return None if metric is None else score(record, who, precision, metric)


def _utility_title(record: Record) -> str:
    metric = utility(record)
    return "a metric of utility" if metric is None else title(metric)


def _full(record: Record, who: str, metric: str) -> float | None:
    return score(record, who, "full", metric)


def _above_retrain(record: Record, who: str, metric: str) -> float | None:
    own, retrain = _full(record, who, metric), _full(record, "retrain", metric)
    return None if own is None or retrain is None else own - retrain


def _returns(record: Record, metrics: Sequence[str]) -> str:
    return "; ".join(
        f"{title(metric)} rises from {_points(score(record, 'unlearned', 'full', metric))} to "
        f"{_points(score(record, 'unlearned', 'quantized', metric))}, and the quantized retrain "
        f"control has {_points(score(record, 'retrain', 'quantized', metric))}"
        for metric in metrics
    )


def _beside_retrain(record: Record, metric: str) -> str:
    own, retrain = _full(record, "unlearned", metric), _full(record, "retrain", metric)
    return f"{title(metric)} {_points(own)} (retrain {_points(retrain)})"


def _scores(record: Record, who: str, precision: str, metrics: Sequence[str]) -> str:
    return " and ".join(
        f"{title(metric)} {_points(score(record, who, precision, metric))}" for metric in metrics
    )


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:z.1f}"
