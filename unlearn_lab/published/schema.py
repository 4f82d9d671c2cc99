"""Checks files of published numbers: allowed keys, and the range of each number."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

RANGES = {
    "verbmem": (0.0, 100.0),
    "knowmem": (0.0, 100.0),
    "utility": (0.0, 100.0),
    "privleak": (-100.0, 200.0),
    "gen": (0.0, 100.0),
    "tru": (0.0, 100.0),
    "fac": (0.0, 100.0),
    "flu": (0.0, 1000.0),
    "forget_quality_log10": (-1000.0, 0.0),
    "model_utility": (0.0, 100.0),
    "forget_truth_ratio": (0.0, 100.0),
    "recovered_share": (0.0, 100.0),
    "retained_share": (0.0, 100.0),
}
"""Lowest and highest value of each metric that a table may have as a column."""


def names_of(kind: type) -> tuple[str, ...]:
    """Returns the field names of a dataclass, which are the keys of its node."""
    return tuple(field.name for field in dataclasses.fields(kind))


def fields(node: Any, wanted: tuple[str, ...], path: str) -> dict[str, Any]:
    """Returns the node as a dict.

    Args:
        node: plain values of the file.
        wanted: the keys that it must have, and no others; raises `ValueError` otherwise.
        path: the node's place, for messages.
    """
    found = mapping(node, path)
    wrong = sorted(set(found) ^ set(wanted))
    if wrong:
        raise ValueError(f"{path}: missing or unknown: {', '.join(wrong)}")
    return found


def mapping(node: Any, path: str) -> dict[str, Any]:
    """Returns the node as a dict; raises `ValueError` for anything but a mapping."""
    if isinstance(node, Mapping):
        return {str(key): value for key, value in node.items()}
    raise ValueError(f"{path}={node}: must be a mapping")


def texts(node: Any, path: str) -> list[str]:
    """Returns the node as a list of distinct strings; raises `ValueError` for anything else."""
    if not isinstance(node, list) or not all(isinstance(text, str) for text in node):
        raise ValueError(f"{path}={node}: must be a list of strings")
    if len(set(node)) != len(node):
        raise ValueError(f"{path}={node}: one of them occurs twice")
    return node


def numbers(node: Any, metrics: tuple[str, ...], path: str) -> tuple[float | None, ...]:
    """Returns one number or None per metric; raises `ValueError` outside a metric's range.

    Args:
        node: a list, or null for None throughout.
        metrics: the metric of each number.
        path: the node's place, for messages.
    """
    if node is None:
        return (None,) * len(metrics)
    if not isinstance(node, list) or len(node) != len(metrics):
        raise ValueError(f"{path}={node}: one number or null for each of {', '.join(metrics)}")
    return tuple(
        _number(value, metric, f"{path}.{metric}")
        for value, metric in zip(node, metrics, strict=True)
    )


def _number(value: Any, metric: str, path: str) -> float | None:
    if value is None:
        return None
    if metric not in RANGES:
        raise ValueError(f"{path}: no such metric; {', '.join(RANGES)}")
    low, high = RANGES[metric]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{path}={value}: a number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise ValueError(f"{path}={value}: {low:g} to {high:g}")
    return float(value)
