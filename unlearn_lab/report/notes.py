"""Notes under a table: what was not measured or judged, and PrivLeak's reference."""

from collections import defaultdict
from collections.abc import Sequence

from unlearn_lab.record.leaf import Record, main_metrics, number, shown_metrics, text, title
from unlearn_lab.record.verdict import VerdictThresholds, judge

_SKIPPED, _CORPUS, _CURVE = "skipped.", "corpus.", "curve.note"


def notes(records: Sequence[Record], thresholds: VerdictThresholds) -> list[str]:
    """Returns one line for each kind of note that applies to any record."""
    lines = [
        _note("Not measured", _skipped(records)),
        _note("Corpus", _corpus(records)),
        _note("Curves", _curves(records)),
        _note("Not judged", _not_judged(records, thresholds)),
        _note("PrivLeak", _controls(records)),
        _note("In units of their own", [title(name) for name in _further(records)]),
    ]
    return [line for line in lines if line]


def _note(word: str, reasons: Sequence[str]) -> str:
    return f"{word}: {'; '.join(reasons)}." if reasons else ""


def _skipped(records: Sequence[Record]) -> list[str]:
    """Returns skipped metrics with reasons; names the data sets if others have the metric."""
    datasets: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for key in record:
            if key.startswith(_SKIPPED):
                metric = key.removeprefix(_SKIPPED)
                name = title("privleak" if metric == "min_k" else metric)
                datasets[f"{name} ({record[key]})"].add(text(record, "dataset"))
    everywhere = {text(record, "dataset") for record in records}
    return [
        reason if found == everywhere else f"{reason} on {', '.join(sorted(found))}"
        for reason, found in datasets.items()
    ]


def _corpus(records: Sequence[Record]) -> list[str]:
    """Returns the remarks on the corpus, each once."""
    keys = sorted({key for record in records for key in record if key.startswith(_CORPUS)})
    values = [str(record[key]) for key in keys for record in records if key in record]
    return list(dict.fromkeys(values))


def _curves(records: Sequence[Record]) -> list[str]:
    """Returns why trainings lack the scores by epoch that were asked for, each once."""
    return list(dict.fromkeys(str(record[_CURVE]) for record in records if _CURVE in record))


def _not_judged(records: Sequence[Record], thresholds: VerdictThresholds) -> list[str]:
    judged = [judge(record, thresholds) for record in records]
    reasons = [each.reason for each in judged if each.verdict == "not judged"]
    return list(dict.fromkeys(reasons))


def _controls(records: Sequence[Record]) -> list[str]:
    """Returns PrivLeak's reference, unless it is the run's own retrain control."""
    lines: dict[str, None] = {}
    for record in records:
        if number(record, "scores.unlearned.full.auc") is None:
            continue
        if text(record, "config.eval.auc_retrain") not in ("-", "scored"):
            auc = number(record, "effective.auc_retrain")
            lines[f"against the AUC of MUSE's own retrained model, {auc}"] = None
        elif number(record, "scores.retrain.full.auc") is None:
            lines["undefined without a retrain control"] = None
    return list(lines)


def _further(records: Sequence[Record]) -> tuple[str, ...]:
    return shown_metrics(records)[len(main_metrics(records)) :]
