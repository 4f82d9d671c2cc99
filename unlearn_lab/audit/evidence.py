"""Picks the answers that show best what a model still knows: all items, not a sample of them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_lab.record.leaf import Record, is_quantized, memories, title
from unlearn_lab.record.verdict import Verdict

NUM_SHOWN = 3
_BY_RISE: tuple[Verdict, ...] = ("comes back",)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One item of the forget set with the answers to it; scores are in points of 0-100.

    Attributes:
        metric: display name of the metric.
        asked: the question or the beginning of the text.
        true: the ground truth.
        target: the target's answer in full precision.
        before: the unlearned model's answer in full precision.
        before_score: its score.
        after: the unlearned model's answer under the quantizer; None without one.
        after_score: its score; None without a quantizer.
    """

    metric: str
    asked: str
    true: str
    target: str
    before: str
    before_score: float
    after: str | None
    after_score: float | None


def strongest(home: Path, record: Record, verdict: Verdict) -> list[Evidence]:
    """Returns the strongest items of the forget set, at most `NUM_SHOWN`, each asked text once.

    If knowledge came back, those whose score rises most under the quantizer; otherwise those that
    the model answers best, quantized if it is.

    Args:
        home: the folder of the cache.
        record: the judged record.
        verdict: its verdict.
    """

    def strength(item: Evidence) -> float:
        last = item.before_score if item.after_score is None else item.after_score
        return last - item.before_score if verdict in _BY_RISE else last

    ranked = sorted(_items(home, record), key=strength, reverse=True)
    chosen = {item.asked: item for item in reversed(ranked)}  # of several metrics the strongest
    return sorted(chosen.values(), key=strength, reverse=True)[:NUM_SHOWN]


def _items(home: Path, record: Record) -> Iterator[Evidence]:
    """Yields the items of all memories that have answers."""
    full, target = (_scores(home, record, f"{who}.full") for who in ("unlearned", "target"))
    quantized = _scores(home, record, "unlearned.quantized") if is_quantized(record) else {}
    if not full or not target or (is_quantized(record) and not quantized):
        return
    for metric in memories(record):
        triples = zip(
            _of(full, metric),
            _of(target, metric),
            _of(quantized, metric) or [None] * len(_of(full, metric)),
            strict=True,
        )
        for before, known, after in triples:
            if "answer" not in before:
                continue
            yield Evidence(
                metric=title(metric),
                asked=str(before.get("question", before.get("prompt"))),
                true=str(before.get("true")),
                target=str(known["answer"]),
                before=str(before["answer"]),
                before_score=float(before["score"]),
                after=None if after is None else str(after["answer"]),
                after_score=None if after is None else float(after["score"]),
            )


def _of(scores: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    return scores[metric]["items"] if metric in scores else []


def _scores(home: Path, record: Record, role: str) -> dict[str, Any]:
    """Returns the scores of an evaluation; empty if there was none, or if they were removed."""
    path = home / "cache" / "evaluate" / str(record.get(f"stages.{role}")) / "scores.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
