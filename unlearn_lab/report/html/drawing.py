"""Converts a matplotlib figure into inline SVG that takes its text colour from the page."""

import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#0b0c0d"
"""Placeholder that `to_svg` replaces by the page's text colour, in light and dark mode."""

CONTROL_COLOURS = {"target": "#0072b2", "retrain": "#56b4e9"}
VERDICT_COLOURS = {
    "comes back": "#d55e00",
    "stays forgotten": "#009e73",
    "forgotten": "#009e73",
    "not forgotten": "#e69f00",
    "destroyed": "#cc79a7",
    "destroyed by the quantizer": "#cc79a7",
    "quantizer keeps too little to tell": "#888888",
    "not judged": "#888888",
}
"""Okabe and Ito's palette, distinguishable without full colour vision."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "hatch.linewidth": 0.6,
}


def new_figure(width: float, height: float) -> Figure:
    """Creates a transparent figure (size in inches) outside pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    return figure


def plain_axes(axes: Axes) -> None:
    """Removes frame, tick marks and background, and colours the labels with `INK`."""
    axes.patch.set_alpha(0.0)
    axes.tick_params(colors=INK, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.title.set_color(INK)
    axes.title.set_fontsize(10)
    axes.xaxis.label.set_color(INK)


def plain_text(text: str) -> str:
    """Escapes dollar signs, which matplotlib would parse as mathtext."""
    return text.replace("$", r"\$")


def to_svg(figure: Figure, name: str) -> str:
    """Returns the figure as one <svg> element; `name` prefixes its ids to keep them unique."""
    stream = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"\bid=\"(?=\w)", f'id="{name}-', drawing)
    drawing = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", drawing)
    return drawing.replace(INK, "currentColor").strip()
