"""Plots every score in full precision with an arrow to its quantized value."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unlearn_lab.record.leaf import (
    FORGET_QUALITY,
    Record,
    interval,
    is_quantized,
    main_metrics,
    score,
    title,
)
from unlearn_lab.record.verdict import Verdict, VerdictThresholds, verdict
from unlearn_lab.report.html.drawing import (
    CONTROL_COLOURS,
    INK,
    VERDICT_COLOURS,
    new_figure,
    plain_axes,
    plain_text,
    to_svg,
)
from unlearn_lab.report.rows import build_rows
from unlearn_lab.report.swept import Names

_OFFSET = {"full": -0.17, "quantized": 0.17}


def arrow_plot(records: Sequence[Record], thresholds: VerdictThresholds) -> str:
    """Plots one row per leaf and one panel per metric; returns SVG.

    A ring marks full precision, an arrow head the quantized score.
    """
    leaves = [row.record for row in build_rows(records, thresholds) if row.who == "unlearned"]
    names = Names.of(records)
    labels = [names.leaf(record) for record in leaves]
    figure = new_figure(max(map(len, labels)) * 0.075 + 9.6, 1.15 + 0.3 * len(leaves))
    metrics = main_metrics(records)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    words: list[Verdict] = [verdict(record, thresholds) for record in leaves]
    for axes, metric in zip(panels, metrics, strict=True):
        _prepare(axes, metric, len(leaves))
        for place, (record, word) in enumerate(zip(leaves, words, strict=True)):
            _draw_controls(axes, record, metric, place)
            _draw_leaf(axes, record, metric, place, VERDICT_COLOURS[word])
    panels[0].set_yticks(range(len(leaves)), [plain_text(label) for label in labels])
    _add_legend(figure, words)
    return to_svg(figure, "arrows")


def _prepare(axes: Axes, metric: str, num_leaves: int) -> None:
    plain_axes(axes)
    axes.set_ylim(num_leaves - 0.4, -0.6)
    axes.set_title(title(metric), loc="left", color=INK)
    axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
    axes.hlines([place + 0.5 for place in range(num_leaves - 1)], 0, 1, INK, alpha=0.08,
                linewidth=0.6, transform=axes.get_yaxis_transform())  # fmt: skip
    if metric not in ("privleak", FORGET_QUALITY):
        axes.set(xlim=(-4, 104), xticks=(0, 25, 50, 75, 100))
        axes.set_xticklabels(["0", "", "50", "", "100"])


def _draw_controls(axes: Axes, record: Record, metric: str, place: int) -> None:
    """Draws the controls under the leaf's quantizer; equal values in adjacent rows join up."""
    precision = "quantized" if is_quantized(record) else "full"
    for who, colour in CONTROL_COLOURS.items():
        value = score(record, who, precision, metric)
        if value is not None:
            style = "-" if who == "target" else (0, (3, 1.5))
            axes.plot([value, value], [place - 0.5, place + 0.5], color=colour, linewidth=1.4,
                      linestyle=style, zorder=1)  # fmt: skip


def _draw_leaf(axes: Axes, record: Record, metric: str, place: int, colour: str) -> None:
    full = score(record, "unlearned", "full", metric)
    quantized = score(record, "unlearned", "quantized", metric)
    for precision, offset in _OFFSET.items():
        ends = interval(record, "unlearned", precision, metric)
        if ends is not None:
            height = [place + offset] * 2
            axes.plot(ends, height, color=colour, linewidth=1.0, alpha=0.55, zorder=2)
    if full is not None:
        axes.plot(full, place, "o", markersize=5, markerfacecolor="none", color=colour, zorder=4)
    if full is not None and quantized is not None:
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6,
                 "shrinkA": 2.5, "shrinkB": 0, "mutation_scale": 9}  # fmt: skip
        drawn = axes.annotate("", (quantized, place), (full, place), arrowprops=arrow, zorder=3)
        drawn.set_in_layout(False)  # it is inside the axes, and measuring each one is slow
        axes.plot(quantized, place, ".", markersize=4, color=colour, zorder=3)


def _add_legend(figure: Figure, words: Sequence[Verdict]) -> None:
    handles = [
        Line2D([], [], color=INK, marker="o", markerfacecolor="none", linestyle="",
               label="full precision"),
        Line2D([], [], color=INK, marker=">", linestyle="-", label="quantized"),
        Line2D([], [], color=CONTROL_COLOURS["target"], label="target"),
        Line2D([], [], color=CONTROL_COLOURS["retrain"], linestyle="--", label="retrain"),
    ]  # fmt: skip
    labels: dict[str, list[str]] = {}
    for word in dict.fromkeys(words):
        labels.setdefault(VERDICT_COLOURS[word], []).append(word)
    for colour, shown in labels.items():
        handles.append(Line2D([], [], color=colour, linewidth=4, label=", ".join(shown)))
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 6),
                  frameon=False, labelcolor=INK)  # fmt: skip
