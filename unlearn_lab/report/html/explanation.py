"""Plots why memory came back or not: weights by layer, and flip rates of all leaves."""

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from unlearn_lab.record.leaf import Record, memories, number, recovery, text
from unlearn_lab.record.leaf import title as metric_title
from unlearn_lab.record.side_files import Layers
from unlearn_lab.report.html.drawing import INK, new_figure, plain_axes, plain_text, to_svg
from unlearn_lab.report.html.plots import layer_ticks
from unlearn_lab.report.rows import natural
from unlearn_lab.report.swept import Names

Widths = Mapping[str, Layers]

_PANELS = {
    "flip_rate": "codes changed",
    "relative_step": "|Δw| in half steps",
    "update_kept": "update left after rounding",
    "zero_bin": "target's weights in the zero bin",
}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888", "#8c510a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LEFT, _BOTTOM, _TOP = 1e-4, -0.2, 1.2
_WIDEST_AXIS = 48


def layer_lines(widths: Widths, mask: Mapping[str, float], name: str) -> str | None:
    """Plots layers on x, one panel per figure and one line per bit width, and the mask if any.

    Args:
        widths: figures by bit width and layer.
        mask: share of each parameter's units that may be updated; empty without a mask.
        name: prefix that makes the SVG's ids unique on the page.

    Returns:
        The SVG, or None when no figures are known.
    """
    layers = list(dict.fromkeys(layer for by_layer in widths.values() for layer in by_layer))
    if not layers:
        return None
    num_panels = len(_PANELS) + bool(mask)
    columns = 3 if mask else 2
    width = 2.4 + 0.1 * min(len(layers), _WIDEST_AXIS)
    figure = new_figure(columns * width, 4.6)
    panels = figure.subplots(2, columns, squeeze=False).flatten()
    for axes, (key, title) in zip(panels, _PANELS.items(), strict=False):
        _draw_widths(axes, widths, layers, key)
        axes.set_title(title, loc="left", color=INK)
    if mask:
        _draw_mask(panels[len(_PANELS)], mask, layers)
    for axes in panels[num_panels:]:
        axes.set_visible(False)
    for place, axes in enumerate(panels[:num_panels]):
        _name_layers(axes, layers, shown=place >= num_panels - columns)
    handles = [
        Line2D([], [], color=colour, marker=".", label=f"{bits} bits")
        for bits, colour in _shades(widths).items()
    ]
    _legend(figure, handles, columns=len(handles))
    return to_svg(figure, name)


def flip_map(records: Sequence[Record]) -> str | None:
    """Plots recovered share against code-flip rate, one point per quantized leaf.

    Returns SVG, or None when no leaf has both figures.
    """
    names = Names.of(records)
    points = [
        (record, rate)
        for record in records
        if (rate := number(record, "codes.flip_rate")) is not None
        and any(
            recovery(record, metric, "recovered_share") is not None for metric in memories(record)
        )
    ]
    if not points:
        return None
    metrics = memories(*(record for record, _ in points))
    groups = _groups([record for record, _ in points], names)
    colours = dict(zip(sorted(set(groups), key=natural), cycle(_COLOURS)))
    quants = sorted({text(record, "quant") for record, _ in points}, key=natural)
    markers = dict(zip(quants, cycle(_MARKERS)))
    figure = new_figure(9.6, 3.6)
    panels = figure.subplots(1, len(metrics), sharex=True, sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        _prepare_map(axes, metric_title(metric))
        for (record, rate), group in zip(points, groups, strict=True):
            share = recovery(record, metric, "recovered_share")
            if share is not None:
                place = max(rate, _LEFT), min(max(share, _BOTTOM), _TOP)
                look = {"color": colours[group], "marker": markers[text(record, "quant")]}
                axes.plot(*place, ls="", clip_on=False, ms=6, alpha=0.8, mec="none", **look)
    handles = [
        Line2D([], [], ls="", marker="o", color=colour, label=plain_text(group))
        for group, colour in colours.items()
    ]
    handles += [
        Line2D([], [], ls="", marker=marker, color=INK, mfc="none", label=plain_text(quant))
        for quant, marker in markers.items()
    ]
    _legend(figure, handles, columns=4)
    return to_svg(figure, "flips")


def _groups(records: Sequence[Record], names: Names) -> list[str]:
    """Returns each point's colour group: its setting, or method and optimizer if too many."""
    found = [names.setting(record) for record in records]
    if len(set(found)) <= len(_COLOURS):
        return found
    return [f"{text(record, 'method')} + {text(record, 'optimizer')}" for record in records]


def _prepare_map(axes: Axes, title: str) -> None:
    plain_axes(axes)
    axes.set_xscale("log")
    axes.set(xlim=(_LEFT, 1.2), ylim=(_BOTTOM, _TOP))
    axes.set_title(title, loc="left", color=INK)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    axes.set_xlabel("codes changed by unlearning")
    axes.minorticks_off()
    percent = FuncFormatter(lambda share, _: f"{100 * share:.3g} %")
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)


def _draw_widths(axes: Axes, widths: Widths, layers: Sequence[str], key: str) -> None:
    plain_axes(axes)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    for bits, colour in _shades(widths).items():
        values = [number(widths[bits].get(layer, {}), key) for layer in layers]
        heights = [float("nan") if value is None else value for value in values]
        axes.plot(heights, color=colour, marker=".", ms=4, lw=1.2)
    axes.set_ylim(bottom=0)
    if key != "relative_step":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))


def _draw_mask(axes: Axes, mask: Mapping[str, float], layers: Sequence[str]) -> None:
    plain_axes(axes)
    axes.set_title("units that the mask lets move", loc="left", color=INK)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    shares = [mask.get(f"{layer}.weight", 0.0) for layer in layers]
    axes.bar(range(len(layers)), shares, color="#888888", width=0.7)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))


def _name_layers(axes: Axes, layers: Sequence[str], *, shown: bool) -> None:
    places, labels = layer_ticks(layers)
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.set_xticks(places, labels if shown else [""] * len(places), fontsize=7,
                    rotation=60, ha="right", rotation_mode="anchor")  # fmt: skip


def _shades(widths: Widths) -> dict[str, tuple[float, float, float, float]]:
    """Returns a colour per bit width, darkest for the fewest bits."""
    order = sorted(widths, key=int)
    steps = max(1, len(order) - 1)
    return {bits: colormaps["viridis"](0.85 * place / steps) for place, bits in enumerate(order)}


def _legend(figure: Figure, handles: Sequence[Line2D], *, columns: int) -> None:
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        labelcolor=INK,
        fontsize=8,
    )
