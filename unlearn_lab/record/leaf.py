"""Reads the figures of a flat record; shared by tables, sentences and plots."""

import math
from collections.abc import Iterator, Mapping, Sequence

from unlearn_lab.config.redaction import escape_controls

Record = Mapping[str, object]

_MEMORIES, _UTILITY = "config.eval.memories", "config.eval.utility"
_MUSE = ("verbmem", "knowmem")
"""The memories of records that name none: those of former versions, with MUSE's metrics."""
FORGET_QUALITY = "forget_quality_log10"
_BEHIND = ("auc", "forget_quality", "forget_quality_distance")
TITLES = {
    "verbmem": "VerbMem",
    "knowmem": "KnowMem",
    "utility": "Utility",
    "privleak": "PrivLeak",
    "forget_probability": "Probability",
    "forget_rouge": "ROUGE",
    "model_utility": "Model utility",
    FORGET_QUALITY: "Forget quality",
}
_SCORE_DEPTH = 4
CHOICES = ("model", "dataset", "method", "optimizer", "quant")


def number(record: Record, key: str) -> float | None:
    """Returns the finite number under `key`, or None when there is no such number."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def score(record: Record, who: str, precision: str, metric: str) -> float | None:
    """Returns one score (0-100; PrivLeak in percent), or None when the record has none.

    Args:
        record: a flat record.
        who: `unlearned`, `target` or `retrain`.
        precision: `full` or `quantized`.
        metric: the metric's key, such as `verbmem`.
    """
    return number(record, f"scores.{who}.{precision}.{metric}")


def interval(record: Record, who: str, precision: str, metric: str) -> tuple[float, float] | None:
    """Returns (low, high) of the score's confidence interval, or None; arguments as in `score`."""
    key = f"scores.{who}.{precision}.{metric}"
    low, high = number(record, f"{key}.low"), number(record, f"{key}.high")
    return None if low is None or high is None else (low, high)


def memories(*records: Record) -> tuple[str, ...]:
    """Returns the metrics of what is left of the forget set, of all the records."""
    named = [record.get(_MEMORIES) for record in records]
    found = [names if isinstance(names, list | tuple) else _MUSE for names in named]
    return tuple(dict.fromkeys(str(name) for names in found for name in names))


def utility(record: Record) -> str | None:
    """Returns the metric of what the model can do apart from the forget set, if any measures it."""
    name = record.get(_UTILITY, "utility")
    return None if name is None else str(name)


def recovery(record: Record, metric: str, figure: str) -> float | None:
    """Returns one figure of `recovery.<metric>`, None where it is undefined.

    Args:
        record: a flat record.
        metric: one of `memories`.
        figure: a field of `evaluate.recovery.Recovery`, such as `recovered_share`.
    """
    return number(record, f"recovery.{metric}.{figure}")


def is_quantized(record: Record) -> bool:
    """Whether the leaf has a quantizer, and therefore scores in two precisions."""
    return record.get("quant") != "none"


def text(record: Record, key: str) -> str:
    """Formats a choice or setting for display: floats with `:g`, "-" for a missing value.

    A `_target_` is shown as its class name. Terminal control characters are escaped.
    """
    value = record.get(key)
    if value is None or value == "":
        return "-"
    if key.endswith("._target_"):
        return str(value).rsplit(".", 1)[-1]
    return f"{value:g}" if isinstance(value, float) else escape_controls(str(value))


def shown_metrics(records: Sequence[Record]) -> tuple[str, ...]:
    """Returns the metrics that get a column: `main_metrics`, then all others with scores, sorted.

    Left out are figures of which another is shown: the AUC behind PrivLeak, p-value and distance
    behind the logarithm of forget quality.
    """
    main = main_metrics(records)
    paths = [key.split(".") for record in records for key in record if key.startswith("scores.")]
    found = {path[3] for path in paths if len(path) == _SCORE_DEPTH} - {*main, *_BEHIND}
    return (*main, *sorted(found))


def main_metrics(records: Sequence[Record]) -> tuple[str, ...]:
    """Returns the metrics of memory and utility, and those that compare with the control."""
    useful = [name for record in records if (name := utility(record)) is not None]
    compared = [metric for record in records for metric in _compared(record)]
    return tuple(dict.fromkeys([*memories(*records), *useful, *compared]))


def _compared(record: Record) -> Iterator[str]:
    if f"scores.unlearned.full.{FORGET_QUALITY}" in record:
        yield FORGET_QUALITY
    else:
        yield "privleak"


def title(metric: str) -> str:
    """Returns a metric's display name; unless it has one, its configured name with spaces."""
    return TITLES.get(metric, metric.replace("_", " "))


def nested(record: Record, prefix: str) -> dict[str, object]:
    """Returns the keys below `prefix.` as a nested dict.

    Where a key has both a value and keys below it, its value is stored under `value`.
    """
    tree: dict[str, object] = {}
    for key in sorted(record):
        if key.startswith(f"{prefix}."):
            _plant(tree, key[len(prefix) + 1 :].split("."), record[key])
    return tree


def _plant(tree: dict[str, object], path: list[str], value: object) -> None:
    for part in path[:-1]:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = {} if part not in tree else {"value": below}
            tree[part] = below
        tree = below
    tree[path[-1]] = value
