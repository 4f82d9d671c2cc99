"""Draws up what an audit has found, from the records of its sweep."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from unlearn_lab.audit.evidence import Evidence, strongest
from unlearn_lab.audit.request import LIBRARIES, missing_libraries
from unlearn_lab.config.exits import FAILED
from unlearn_lab.models.stored import dtypes_in
from unlearn_lab.record.leaf import (
    Record,
    interval,
    is_quantized,
    memories,
    nested,
    number,
    recovery,
    score,
    shown_metrics,
    text,
    title,
)
from unlearn_lab.record.verdict import Verdict, VerdictThresholds, judge

REMAINS, UNCLEAR = 3, 4
"""Exit statuses: something is remembered; something could not be judged."""
_REMEMBERED: tuple[Verdict, ...] = ("comes back", "not forgotten")
_WHO = ("unlearned", "target", "retrain")
_PLACES = {"target": "model.path", "retrain": "model.retrain", "unlearn": "method.path"}
_NEVER_TESTED = (
    "relearning: whether a few steps of fine-tuning bring the forget set back",
    "other prompts: paraphrases, other languages, jailbreaks and in-context hints",
    "sampled answers: all answers are greedy",
)


@dataclass(frozen=True, kw_only=True)
class Points:
    """A score in points (0-100, PrivLeak in per cent) and its 95 % interval, where there is one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one model under one quantizer.

    Attributes:
        model: place of the unlearned model.
        quantizer: the option of the group `quant`.
        ran: the quantizer as it ran.
        verdict: the verdict.
        reason: the figures behind it.
        without_control: what can be said where no control is there to judge by.
        scores: by model, precision and metric.
        weights: what is known of how unlearning moved the weights.
        evidence: the strongest answers.
        run_id: the record's.
    """

    model: str
    quantizer: str
    ran: str
    verdict: Verdict
    reason: str
    without_control: tuple[str, ...]
    scores: dict[str, dict[str, dict[str, Points]]]
    weights: dict[str, float | str | None]
    evidence: tuple[Evidence, ...]
    run_id: str


@dataclass(frozen=True, kw_only=True)
class AuditedModel:
    """A model of the audit.

    Attributes:
        role: target, retrain control or unlearned model.
        place: folder, file or hub name.
        identity: commit of a hub name, SHA-256 of anything else; says so if it is not known.
        stored: in which dtypes its weights are stored, as far as known.
    """

    role: str
    place: str
    identity: str
    stored: str | None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The whole result.

    Attributes:
        models: every model once.
        dataset: the settings of the data set.
        findings: one per model and quantizer.
        untested: what this audit says nothing about.
        version: version of unlearn_lab, and its commit in a clone.
        status: the exit status.
    """

    models: tuple[AuditedModel, ...]
    dataset: dict[str, object]
    findings: tuple[Finding, ...]
    untested: tuple[str, ...]
    version: str
    status: int


def audit_of(home: Path, records: Sequence[Record], *, failed: bool) -> Audit:
    """Draws up an audit; at least one record is needed.

    Args:
        home: folder of the cache.
        records: the records of the audit's sweep.
        failed: whether some of its jobs failed.
    """
    found = [_finding(home, record) for record in records]
    models = dict.fromkeys(model for record in records for model in _models(home, record))
    first = records[0]
    return Audit(
        models=tuple(models),
        dataset={"option": text(first, "dataset"), **_settings(first)},
        findings=tuple(found),
        untested=tuple(_untested(records)),
        version=" ".join(filter(None, (text(first, "version"), str(first.get("git") or "")))),
        status=FAILED if failed else status_of([finding.verdict for finding in found]),
    )


def _settings(record: Record) -> dict[str, object]:
    """Returns the settings of the data set that have a value, but for its class."""
    found = nested(record, "config.dataset")
    return {
        name: value
        for name, value in found.items()
        if value not in (None, "", {}) and name != "_target_"
    }


def status_of(verdicts: Sequence[Verdict]) -> int:
    """Returns the exit status: 0 if all stay forgotten, 3 if anything is remembered, else 4."""
    if any(verdict in _REMEMBERED for verdict in verdicts):
        return REMAINS
    return 0 if set(verdicts) == {"stays forgotten"} else UNCLEAR


def _finding(home: Path, record: Record) -> Finding:
    judged = judge(record, _thresholds(record))
    alone = all(score(record, "retrain", "full", metric) is None for metric in memories(record))
    measured = {
        who: {
            precision: {
                metric: points
                for metric in shown_metrics([record])
                if (points := _points(record, who, precision, metric)) is not None
            }
            for precision in ("full", "quantized")
        }
        for who in _WHO
    }
    return Finding(
        model=text(record, "config.method.path"),
        quantizer=text(record, "quant"),
        ran=text(record, "effective.quantizer"),
        verdict=judged.verdict,
        reason=judged.reason,
        without_control=tuple(_without_control(record)) if alone else (),
        scores=measured,
        weights={
            "trained in": text(record, "effective.weights"),
            "held in": text(record, "config.trainer.weights"),
            **{
                name: number(record, key)
                for name, key in (
                    ("share of weights that moved", "effective.moved"),
                    ("median step of those", "effective.step"),
                    ("median step in bfloat16 spacings", "effective.step_in_spacings"),
                    ("share of codes that changed", "codes.flip_rate"),
                )
            },
        },
        evidence=tuple(strongest(home, record, judged.verdict)),
        run_id=text(record, "run_id"),
    )


def _thresholds(record: Record) -> VerdictThresholds:
    """Returns the thresholds that the record's run was judged by."""
    values = {
        field.name: number(record, f"config.report.thresholds.{field.name}")
        for field in fields(VerdictThresholds)
    }
    return VerdictThresholds(**{name: value for name, value in values.items() if value is not None})


def _points(record: Record, who: str, precision: str, metric: str) -> Points | None:
    low, high = interval(record, who, precision, metric) or (None, None)
    value = score(record, who, precision, metric)
    return None if value is None else Points(value=value, low=low, high=high)


def _without_control(record: Record) -> Iterator[str]:
    """Yields what can be said without a retrain control, a sentence for each memory."""
    for metric in memories(record):
        full, target = (score(record, who, "full", metric) for who in ("unlearned", "target"))
        if full is None or target is None:
            continue
        name = title(metric)
        yield f"{name} in full precision is {full:.1f}; the target's is {target:.1f}."
        quantized = score(record, "unlearned", "quantized", metric)
        delta = recovery(record, metric, "delta")
        if not is_quantized(record) or quantized is None or delta is None:
            continue
        low, high = recovery(record, metric, "delta.low"), recovery(record, metric, "delta.high")
        yield (
            f"Under the quantizer {name} is {quantized:.1f}: {delta:+.1f} points"
            f"{'' if low is None or high is None else f' [{low:+.1f}, {high:+.1f}]'}"
            f"{_share_of_target(record, metric)}."
        )
    yield (
        "Whether this is forgetting cannot be said: the score of a model that never saw the forget "
        "set is unknown."
    )


def _share_of_target(record: Record, metric: str) -> str:
    share = recovery(record, metric, "recovered_share")
    target = score(record, "target", "quantized", metric)
    if share is None or target is None:
        return ""
    return f", {100 * share:.0f} % of the way to the quantized target's {target:.1f}"


def _models(home: Path, record: Record) -> Iterator[AuditedModel]:
    """Yields the models of a record, identified by what their stages were built from."""
    roles = {"target": "target", "retrain": "retrain control", "unlearn": "unlearned model"}
    for stage, role in roles.items():
        key = record.get(f"stages.{stage}")
        if key is None:
            continue
        place = text(record, f"config.{_PLACES[stage]}")
        path = home / "cache" / stage / str(key) / "manifest.json"
        identity, stored = "unknown: removed from the cache", list[str]()
        if path.exists():
            built = json.loads(path.read_text(encoding="utf-8"))
            identity = str(built["stage"]["depends"]["files"][_PLACES[stage]])
            stored = built["facts"].get("stored", [])
        yield AuditedModel(
            role=role,
            place=place,
            identity=identity,
            stored=", ".join(stored or _stored(place)) or None,
        )


def _stored(place: str) -> list[str]:
    """Returns the dtypes of the weights in a folder; empty for anything else."""
    files = Path(place).glob("*.safetensors") if Path(place).is_dir() else ()
    return sorted({dtype for file in files for dtype in dtypes_in(file)})


def _untested(records: Sequence[Record]) -> Iterator[str]:
    """Yields what the audit says nothing about."""
    tested = {text(record, "quant") for record in records}
    for name in LIBRARIES:
        if name in tested or name in ("none", "bf16"):
            continue
        extras = missing_libraries(name)
        reason = f"not installed: extra {', '.join(extras)}" if extras else "not asked for"
        yield f"quantizer {name} ({reason})"
    reasons = {
        key.removeprefix("skipped."): str(value)
        for record in records
        for key, value in record.items()
        if key.startswith("skipped.")
    }
    yield from (f"{title(metric)}: {reason}" for metric, reason in reasons.items())
    if all(score(record, "unlearned", "full", "privleak") is None for record in records):
        yield (
            "membership inference (PrivLeak): needs holdout texts and a retrain control, or MUSE's "
            "published constants (eval=muse_published eval.auc_retrain=muse_news)"
        )
    yield from _NEVER_TESTED
