"""Plots the recovered shares and the code-flip rates by layer as heat maps."""

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from unlearn_lab.record.leaf import Record, memories, title
from unlearn_lab.report.html.drawing import INK, new_figure, plain_axes, plain_text, to_svg
from unlearn_lab.report.share_grid import share_grid

_DARK = 0.55
_COLOURS = "cividis"


def recovery_map(records: Sequence[Record]) -> str | None:
    """Plots recovered share by model and quantizer as SVG; None when nothing can be shown."""
    metrics = memories(*records)
    grids = [share_grid(records, metric) for metric in metrics]
    if not grids:
        return None
    rows, columns = len(grids[0].models), len(grids[0].quantizers)
    if not rows:
        return None
    label = max(map(len, grids[0].models)) * 0.075
    width = label + 0.6 + len(metrics) * max(0.8 * columns, 1.2)
    figure = new_figure(width, 0.75 + 0.34 * rows)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric, grid in zip(panels, metrics, grids, strict=True):
        plain_axes(axes)
        axes.set(xlim=(0, columns), ylim=(rows, 0))
        axes.set_title(title(metric), loc="left", color=INK)
        axes.set_xticks([place + 0.5 for place in range(columns)], map(plain_text, grid.quantizers))
        axes.set_yticks([place + 0.5 for place in range(rows)], map(plain_text, grid.models))
        for row, model in enumerate(grid.models):
            for column, quant in enumerate(grid.quantizers):
                _draw_cell(axes, column, row, grid.shares.get((model, quant)))
    return to_svg(figure, "recovery")


def layer_map(layers: Mapping[str, Mapping[str, float]]) -> str | None:
    """Plots code-flip rate by leaf and layer as SVG; None when no leaf has per-layer figures."""
    names = list(dict.fromkeys(layer for figures in layers.values() for layer in figures))
    if not names:
        return None
    values = [[figures.get(layer, float("nan")) for layer in names] for figures in layers.values()]
    label = max(map(len, layers)) * 0.075
    width = label + min(max(0.32 * len(names), 3.0), 11.0) + 1.0
    figure = new_figure(width, 1.9 + 0.26 * len(layers))
    axes = figure.subplots()
    plain_axes(axes)
    image = axes.imshow(values, aspect="auto", cmap=_COLOURS, vmin=0, interpolation="nearest")
    places, labels = layer_ticks(names)
    axes.set_xticks(places, labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(layers)), [plain_text(leaf) for leaf in layers])
    bar = figure.colorbar(image, ax=axes, pad=0.01, format=lambda share, _: f"{100 * share:.3g} %")
    bar.ax.tick_params(colors=INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return to_svg(figure, "layers")


def _draw_cell(axes: Axes, column: int, row: int, shares: Sequence[float | None] | None) -> None:
    """Draws the mean in per cent; hatched if every share is undefined, blank if no leaf was run."""
    if shares is None:
        return
    known = [share for share in shares if share is not None]
    box = {"xy": (column + 0.04, row + 0.05), "width": 0.92, "height": 0.9}
    if not known:
        axes.add_patch(Rectangle(**box, facecolor="none", edgecolor=INK, hatch="////", alpha=0.35))
        axes.text(column + 0.5, row + 0.5, "-", ha="center", va="center", color=INK)
        return
    mean = sum(known) / len(known)
    shade = min(max(mean, 0.0), 1.0)
    axes.add_patch(Rectangle(**box, facecolor=colormaps[_COLOURS](shade), edgecolor="none"))
    ink = "white" if shade < _DARK else "black"
    written = f"{100 * mean:z.0f} %" + (f" ({len(known)})" if len(shares) > 1 else "")
    axes.text(column + 0.5, row + 0.5, written, ha="center", va="center", color=ink)


def layer_ticks(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Returns positions and names of the ticks: every layer, or evenly thinned to at most 48."""
    every = -(-len(names) // 48)
    places = list(range(0, len(names), every))
    return places, [plain_text(names[place].removeprefix("model.layers.")) for place in places]
