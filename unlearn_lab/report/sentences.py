"""Says the outcome of a sweep in sentences: what was forgotten, and what came back from it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from unlearn_lab.report.leaf import RECOVERED, TITLES, Record, is_quantized, score, text
from unlearn_lab.report.rows import natural
from unlearn_lab.report.swept import Names
from unlearn_lab.report.verdict import Thresholds, Verdict, forgot, returned_metrics, verdict

Judged = Sequence[tuple[Record, Verdict]]

_NAMED = 4
_PHRASES = {
    "forgotten": "forgot in full precision and stayed useful",
    "not forgotten": "did not forget",
    "destroyed": "lost the rest of what was known as well (destroyed, not unlearned)",
    "not judged": "cannot be judged (the line under the table says why)",
}


def headlines(records: Sequence[Record], thresholds: Thresholds) -> list[str]:
    """One sentence on forgetting in full precision, then one for each quantizer."""
    if not records:
        return ["No results yet."]
    names = Names.of(records)
    judged: list[tuple[Record, Verdict]] = [
        (record, verdict(record, thresholds)) for record in records
    ]
    quantizers: dict[str, list[tuple[Record, Verdict]]] = defaultdict(list)
    for record, word in judged:
        if is_quantized(record):
            quantizers[text(record, "quant")].append((record, word))
    sentences = [_forgetting(judged, names)]
    for quant in sorted(quantizers, key=natural):
        sentences.append(_return(quant, quantizers[quant], names, thresholds))
    if not quantizers:
        sentences.append("No quantizer was run, so nothing is known about what would come back.")
    return sentences


def _forgetting(judged: Judged, names: Names) -> str:
    states: dict[str, tuple[str, str]] = {}
    for record, word in judged:
        state = "forgotten" if forgot(word) else word
        states[names.model(record)] = (names.setting(record), state)
    told = []
    for state, phrase in _PHRASES.items():
        settings = [setting for setting, its_state in states.values() if its_state == state]
        if settings:
            told.append(f"{len(settings)} {phrase}: {_list(_counted(settings))}")
    models = "1 unlearned model" if len(states) == 1 else f"{len(states)} unlearned models"
    return f"Of {models}, {'; '.join(told)}."


def _return(quant: str, judged: Judged, names: Names, thresholds: Thresholds) -> str:
    forgotten = sum(forgot(word) for _, word in judged)
    settings: dict[str, list[Record]] = defaultdict(list)
    for record, word in judged:
        if word == "comes back":
            settings[names.setting(record)].append(record)
    num_back = sum(map(len, settings.values()))
    if all(word == "not judged" for _, word in judged):
        return f"Under {quant} nothing can be said about what came back."
    if forgotten == 0:
        return f"Under {quant} no model had forgotten, so there was nothing to come back."
    if num_back == 0:
        which = "the one model" if forgotten == 1 else f"any of the {forgotten} models"
        return f"Under {quant} nothing came back in {which} that had forgotten."
    which = "the one model" if forgotten == 1 else f"{num_back} of the {forgotten} models"
    told = _list([_rise(setting, settings[setting], thresholds) for setting in sorted(settings)])
    return f"Under {quant} the memory came back in {which} that had forgotten: {told}."


def _rise(setting: str, records: Sequence[Record], thresholds: Thresholds) -> str:
    """The scores of a setting's returning leaves, averaged over its seeds."""
    returned = {metric for record in records for metric in returned_metrics(record, thresholds)}
    rises = [_means(records, metric) for metric in RECOVERED if metric in returned]
    seeds = [f"mean of {len(records)} seeds"] if len(records) > 1 else []
    return f"{setting} ({'; '.join([*seeds, *rises])})"


def _means(records: Sequence[Record], metric: str) -> str:
    full = _mean(records, "unlearned", "full", metric)
    quantized = _mean(records, "unlearned", "quantized", metric)
    retrain = _mean(records, "retrain", "quantized", metric)
    return f"{TITLES[metric]} {full:.1f} → {quantized:.1f}, retrain {retrain:.1f}"


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
