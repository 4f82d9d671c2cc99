"""Reads the figures of a flat record; shared by tables, sentences and plots."""

import math
from collections.abc import Mapping, Sequence

from unlearn_lab.config.redaction import escape_controls

Record = Mapping[str, object]

METRICS = ("verbmem", "knowmem", "utility", "privleak")
RECOVERED = ("verbmem", "knowmem")
TITLES = {"verbmem": "VerbMem", "knowmem": "KnowMem", "utility": "Utility", "privleak": "PrivLeak"}
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


def recovery(record: Record, metric: str, figure: str) -> float | None:
    """Returns one figure of `recovery.<metric>`, None where it is undefined.

    Args:
        record: a flat record.
        metric: `verbmem` or `knowmem`.
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
    """Returns the metrics that get a column: MUSE's four, then all others with scores, sorted.

    The AUC is left out: PrivLeak is derived from it.
    """
    paths = [key.split(".") for record in records for key in record if key.startswith("scores.")]
    found = {path[3] for path in paths if len(path) == _SCORE_DEPTH} - {*METRICS, "auc"}
    return (*METRICS, *sorted(found))


def title(metric: str) -> str:
    """Returns a metric's display name; outside MUSE, its configured name with spaces."""
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
