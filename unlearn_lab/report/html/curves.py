"""Plots the scores of trainings by epoch, in full precision and quantized."""

from collections.abc import Mapping
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from unlearn_lab.record.leaf import title
from unlearn_lab.report.html.drawing import INK, new_figure, plain_axes, plain_text, to_svg
from unlearn_lab.unlearn.training.curve import Curve, Point

_COLOURS = ("#d55e00", "#cc79a7", "#0072b2", "#009e73", "#e69f00", "#56b4e9", "#888888")
_COLUMNS = 3


def curve_plot(curves: Mapping[str, Curve]) -> str | None:
    """Plots one panel per training, with epochs on x; returns SVG, or None without a point.

    Args:
        curves: the scores by the training's display name.
    """
    drawn = {name: curve for name, curve in curves.items() if curve.points}
    if not drawn:
        return None
    metrics = list(dict.fromkeys(m for curve in drawn.values() for m in curve.points[0].full))
    colours = dict(zip(metrics, cycle(_COLOURS)))
    columns, rows = min(len(drawn), _COLUMNS), -(-len(drawn) // _COLUMNS)
    figure = new_figure(max(3.4 * columns, 7.8), 0.7 + 2.3 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axes, (name, curve) in zip(panels, drawn.items(), strict=False):
        _draw(axes, curve, colours)
        axes.set_title(plain_text(f"{name} · {curve.quantizer}"), loc="left", color=INK)
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=colour, label=title(metric)) for metric, colour in colours.items()
    ]
    handles += [
        Line2D([], [], color=INK, marker="o", markersize=4, mfc="none", label="full precision"),
        Line2D([], [], color=INK, marker=">", markersize=4, ls="--", label="quantized"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 6),
                  frameon=False, labelcolor=INK)  # fmt: skip
    return to_svg(figure, "curves")


def _draw(axes: Axes, curve: Curve, colours: Mapping[str, str]) -> None:
    plain_axes(axes)
    epochs = [point.epoch for point in curve.points]
    axes.set(ylim=(-4, 104), yticks=(0, 50, 100), xlabel="epoch")
    axes.set_xticks(epochs if len(epochs) <= 8 else epochs[:: -(-len(epochs) // 8)])
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    for metric, colour in colours.items():
        for style, marker, found in (
            ("-", "o", _values(curve.points, "full", metric)),
            ("--", ">", _values(curve.points, "quantized", metric)),
        ):
            axes.plot(epochs, found, style, color=colour, marker=marker, markersize=4,
                      mfc="none", linewidth=1.3, clip_on=False)  # fmt: skip


def _values(points: tuple[Point, ...], precision: str, metric: str) -> list[float]:
    return [getattr(point, precision).get(metric, float("nan")) for point in points]
