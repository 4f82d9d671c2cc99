"""Names the figures of a flat record, so that tables, sentences and plots read them alike."""

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
    """The finite number under `key`, or None when it is absent, null or anything else."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def score(record: Record, who: str, precision: str, metric: str) -> float | None:
    """One score (0-100; PrivLeak in percent) of `unlearned`, `target` or `retrain`."""
    return number(record, f"scores.{who}.{precision}.{metric}")


def interval(record: Record, who: str, precision: str, metric: str) -> tuple[float, float] | None:
    """The confidence interval of that score, or None when the record holds none."""
    key = f"scores.{who}.{precision}.{metric}"
    low, high = number(record, f"{key}.low"), number(record, f"{key}.high")
    return None if low is None or high is None else (low, high)


def recovery(record: Record, metric: str, figure: str) -> float | None:
    """One figure of `recovery.<metric>`, None where it is undefined."""
    return number(record, f"recovery.{metric}.{figure}")


def is_quantized(record: Record) -> bool:
    """Whether the leaf has a quantizer, and with it scores in two precisions."""
    return record.get("quant") != "none"


def text(record: Record, key: str) -> str:
    """A choice or setting as people write it: no decimals on whole numbers, "-" for nothing.

    Of a `_target_` it is the class's name. Characters that would steer a terminal are spelt out.
    """
    value = record.get(key)
    if value is None or value == "":
        return "-"
    if key.endswith("._target_"):
        return str(value).rsplit(".", 1)[-1]
    return f"{value:g}" if isinstance(value, float) else escape_controls(str(value))


def shown_metrics(records: Sequence[Record]) -> tuple[str, ...]:
    """The metrics worth a column: MUSE's four, then any further ones that a record has scores of.

    The AUC is left out: PrivLeak tells it.
    """
    paths = [key.split(".") for record in records for key in record if key.startswith("scores.")]
    found = {path[3] for path in paths if len(path) == _SCORE_DEPTH} - {*METRICS, "auc"}
    return (*METRICS, *sorted(found))


def title(metric: str) -> str:
    """What a metric is called in words; a further one as the configuration names it."""
    return TITLES.get(metric, metric.replace("_", " "))


def nested(record: Record, prefix: str) -> dict[str, object]:
    """The keys below `prefix.` as a nested dict; of a value and a group, the value is `value`."""
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
