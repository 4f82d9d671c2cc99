"""What a file of published numbers may hold: which keys, and which numbers in which range."""

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
    "recovered_share": (0.0, 100.0),
    "retained_share": (0.0, 100.0),
}
"""Lowest and highest value of each metric that a table may have as a column."""


def names_of(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass, which are the keys of its node."""
    return tuple(field.name for field in dataclasses.fields(kind))


def fields(node: Any, wanted: tuple[str, ...], path: str) -> dict[str, Any]:
    """The node as a dict; raises `ValueError` unless it has exactly the keys that are wanted."""
    found = mapping(node, path)
    wrong = sorted(set(found) ^ set(wanted))
    if wrong:
        raise ValueError(f"{path}: missing or unknown: {', '.join(wrong)}")
    return found


def mapping(node: Any, path: str) -> dict[str, Any]:
    """The node as a dict; raises `ValueError` for anything without keys."""
    if isinstance(node, Mapping):
        return {str(key): value for key, value in node.items()}
    raise ValueError(f"{path}={node}: keys with values")


def texts(node: Any, path: str) -> list[str]:
    """A list of texts, each at most once."""
    if not isinstance(node, list) or not all(isinstance(text, str) for text in node):
        raise ValueError(f"{path}={node}: a list of texts")
    if len(set(node)) != len(node):
        raise ValueError(f"{path}={node}: one of them occurs twice")
    return node


def numbers(node: Any, metrics: tuple[str, ...], path: str) -> tuple[float | None, ...]:
    """One number or null a metric, each in its range; a single null stands for nulls alone."""
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
