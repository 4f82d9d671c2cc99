"""Summarises a sweep in sentences: what was forgotten, and what came back."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from unlearn_lab.record.leaf import Record, is_quantized, memories, score, title
from unlearn_lab.record.verdict import (
    FORGOT,
    Verdict,
    VerdictThresholds,
    judge_full,
    returned_metrics,
    verdict,
)
from unlearn_lab.report.rows import natural
from unlearn_lab.report.swept import Names, training

Judged = Sequence[tuple[Record, Verdict]]

_NAMED = 4
_PHRASES: Mapping[Verdict, str] = {
    "forgotten": "forgot in full precision and stayed useful",
    "not forgotten": "did not forget",
    "destroyed": "lost the rest of what was known as well (destroyed, not unlearned)",
    "not judged": "cannot be judged (the line under the table says why)",
}
_UNKNOWN: Mapping[Verdict, str] = {
    "destroyed by the quantizer": "the quantizer destroyed {}",
    "quantizer keeps too little to tell": "the quantizer keeps too little to tell in {}",
}


def headlines(records: Sequence[Record], thresholds: VerdictThresholds) -> list[str]:
    """Returns one sentence on forgetting in full precision, then one per quantizer."""
    if not records:
        return ["No results yet."]
    names = Names.of(records)
    quantizers: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if is_quantized(record):
            quantizers[names.quantizer(record)].append(record)
    sentences = [_forgetting(records, names, thresholds)]
    for quant in sorted(quantizers, key=natural):
        models = {training(record): record for record in quantizers[quant]}.values()
        judged: list[tuple[Record, Verdict]] = [
            (record, verdict(record, thresholds)) for record in models
        ]
        sentences.append(_return(quant, judged, names, thresholds))
    if not quantizers:
        sentences.append("No quantizer was run, so nothing is known about what would come back.")
    return sentences


def _forgetting(records: Sequence[Record], names: Names, thresholds: VerdictThresholds) -> str:
    """Describes forgetting; each unlearned model counts once, regardless of its quantizers."""
    states: dict[str, tuple[str, Verdict]] = {}
    for record in records:
        states[training(record)] = (names.setting(record), judge_full(record, thresholds).verdict)
    parts = []
    for state, phrase in _PHRASES.items():
        settings = [setting for setting, its_state in states.values() if its_state == state]
        if settings:
            parts.append(f"{len(settings)} {phrase}: {_list(_counted(settings))}")
    models = "1 unlearned model" if len(states) == 1 else f"{len(states)} unlearned models"
    return f"Of {models}, {'; '.join(parts)}."


def _return(quant: str, judged: Judged, names: Names, thresholds: VerdictThresholds) -> str:
    forgotten = sum(word in FORGOT for _, word in judged)
    if all(word == "not judged" for _, word in judged):
        return f"Under {quant} nothing can be said about what came back."
    if forgotten == 0:
        return f"Under {quant} no model had forgotten, so there was nothing to come back."
    settings: dict[str, list[Record]] = defaultdict(list)
    for record, word in judged:
        if word == "comes back":
            settings[names.setting(record)].append(record)
    unanswered = _unanswered(judged, names)
    back, stays = (
        sum(word == wanted for _, word in judged) for wanted in ("comes back", "stays forgotten")
    )
    rises = _list([_rise(setting, settings[setting], thresholds) for setting in sorted(settings)])
    parts = [f"the memory came back in {_of(back, forgotten)}: {rises}"] if back else []
    if stays and not parts:
        parts.append(f"nothing came back in {_of(stays, forgotten)}")
    if not parts:
        parts.append(f"nothing can be said of {_of(forgotten, forgotten)}")
    return f"Under {quant} {'; '.join([*parts, *unanswered])}."


def _of(count: int, forgotten: int) -> str:
    if forgotten == 1:
        return "the one model that had forgotten"
    return f"{count} of the {forgotten} models that had forgotten"


def _unanswered(judged: Judged, names: Names) -> Iterable[str]:
    """Yields a phrase on the models whose quantizer does not allow a conclusion."""
    for wanted, phrase in _UNKNOWN.items():
        settings = [names.setting(record) for record, word in judged if word == wanted]
        if settings:
            yield f"{phrase.format(len(settings))}: {_list(_counted(settings))}"


def _rise(setting: str, records: Sequence[Record], thresholds: VerdictThresholds) -> str:
    """Describes the scores of a setting's leaves that came back, averaged over seeds."""
    returned = {metric for record in records for metric in returned_metrics(record, thresholds)}
    rises = [_means(records, metric) for metric in memories(*records) if metric in returned]
    seeds = [f"mean of {len(records)} seeds"] if len(records) > 1 else []
    return f"{setting} ({'; '.join([*seeds, *rises])})"


def _means(records: Sequence[Record], metric: str) -> str:
    full = _mean(records, "unlearned", "full", metric)
    quantized = _mean(records, "unlearned", "quantized", metric)
    retrain = _mean(records, "retrain", "quantized", metric)
    return f"{title(metric)} {full:z.1f} → {quantized:z.1f}, retrain {retrain:z.1f}"


def _mean(records: Sequence[Record], who: str, precision: str, metric: str) -> float:
    values = [score(record, who, precision, metric) for record in records]
    return fmean(value for value in values if value is not None)


def _counted(settings: Sequence[str]) -> list[str]:
    counts: Mapping[str, int] = {setting: settings.count(setting) for setting in sorted(settings)}
    return [f"{name} ({count} seeds)" if count > 1 else name for name, count in counts.items()]


def _list(items: Sequence[str]) -> str:
    if len(items) > _NAMED:
        return ", ".join(items[:_NAMED]) + f" and {len(items) - _NAMED} more"
    return ", ".join(items)
