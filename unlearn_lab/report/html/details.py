"""Collects what the report shows of one leaf: scores, settings, what ran, sample answers."""

from collections.abc import Sequence
from itertools import groupby

from unlearn_lab.record.leaf import Record, interval, memories, number, score, text
from unlearn_lab.record.leaf import title as metric_title
from unlearn_lab.record.side_files import Sample
from unlearn_lab.report.swept import Names

_WHO = ("unlearned", "target", "retrain")
_PRECISIONS = ("full", "quantized")
_POINTS = ("delta", "excess")
_SHARES = ("retained_full", "retained_quantized", "target_kept", "recovered_share")
_CODES = ("flip_rate", "moved", "cannot_move", "zero_bin", "relative_step", "update_kept")
_ONCE = ("stopped_epoch", "peak_gb", "version", "git", "time", "sweep", "run_id")


def leaf_details(
    leaf: Record,
    names: Names,
    metrics: Sequence[str],
    samples: Sequence[Sample],
    num_samples: int,
) -> dict[str, object]:
    """Returns everything that the template shows of one leaf, as text.

    Args:
        leaf: the leaf's record, with its verdict.
        names: display names that distinguish the leaves.
        metrics: columns of the score table.
        samples: the leaf's sample answers.
        num_samples: samples shown for each metric, model and precision.
    """
    return {
        "name": names.leaf(leaf),
        "verdict": text(leaf, "verdict"),
        "reason": text(leaf, "verdict_reason"),
        "scores": _score_lines(leaf, metrics),
        "recovery": [
            (metric_title(metric), *_recovery_cells(leaf, metric)) for metric in memories(leaf)
        ],
        "codes": [(share, _fine_share(number(leaf, f"codes.{share}"))) for share in _CODES]
        + [
            (f"mask: {share}", _fine_share(number(leaf, f"mask.{share}")))
            for share in _masked(leaf)
        ],
        "ran": [*_below(leaf, "effective."), *_below(leaf, "quantizer.", title="quantizer {}")]
        + _below(leaf, "items.", title="items {}")
        + [(key, text(leaf, key)) for key in _ONCE],
        "settings": _below(leaf, "config."),
        "stages": [
            (stage, key, text(leaf, f"seconds.{stage}")) for stage, key in _below(leaf, "stages.")
        ],
        "samples": pick(samples, num_samples),
    }


def pick(samples: Sequence[Sample], num_samples: int) -> list[dict[str, str]]:
    """Returns the first `num_samples` of each metric, model and precision, in a fixed order."""
    keys = ("metric", "who", "precision")
    ordered = sorted(samples, key=lambda sample: [text(sample, key) for key in keys])
    groups = groupby(ordered, key=lambda sample: [text(sample, key) for key in keys])
    chosen = [sample for _, group in groups for sample in list(group)[:num_samples]]
    shown = (*keys, "asked", "answer", "true")
    return [
        {key: text(sample, key) for key in shown} | {"score": _score(sample)} for sample in chosen
    ]


def _masked(leaf: Record) -> list[str]:
    return [share for share in ("kept", "kept_weights") if f"mask.{share}" in leaf]


def _score(sample: Sample) -> str:
    value = number(sample, "score")
    return "-" if value is None else f"{value:z.1f}"


def _score_lines(leaf: Record, metrics: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        (who, precision, *(_with_interval(leaf, who, precision, metric) for metric in metrics))
        for who in _WHO
        for precision in _PRECISIONS
        if any(score(leaf, who, precision, metric) is not None for metric in metrics)
    ]


def _with_interval(leaf: Record, who: str, precision: str, metric: str) -> str:
    value, ends = score(leaf, who, precision, metric), interval(leaf, who, precision, metric)
    if value is None:
        return "-"
    return f"{value:z.1f}" if ends is None else f"{value:z.1f} [{ends[0]:z.1f}, {ends[1]:z.1f}]"


def _recovery_cells(leaf: Record, metric: str) -> list[str]:
    cells = []
    for figure in (*_POINTS, *_SHARES):
        key = f"recovery.{metric}.{figure}"
        ends = number(leaf, f"{key}.low"), number(leaf, f"{key}.high")
        shown = [_figure(figure, value) for value in (number(leaf, key), *ends)]
        cells.append(shown[0] if "-" in shown else f"{shown[0]} [{shown[1]}, {shown[2]}]")
    return cells


def _figure(figure: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:+z.1f}" if figure in _POINTS else f"{100 * value:z.0f} %"


def _fine_share(share: float | None) -> str:
    """Formats three digits: the share of flipped codes may be far below one per cent."""
    return "-" if share is None else f"{100 * share:.3g} %"


def _below(leaf: Record, prefix: str, *, title: str = "{}") -> list[tuple[str, str]]:
    keys = sorted(key for key in leaf if key.startswith(prefix))
    return [(title.format(key[len(prefix) :]), text(leaf, key)) for key in keys]
