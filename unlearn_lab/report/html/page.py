"""Writes the report: one self-contained HTML file."""

import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from unlearn_lab.record.leaf import Record, memories, number, shown_metrics
from unlearn_lab.record.leaf import title as metric_title
from unlearn_lab.record.side_files import SideFiles, read_sides
from unlearn_lab.record.verdict import VerdictThresholds
from unlearn_lab.report.html.details import leaf_details
from unlearn_lab.report.html.drawings import Drawings, drawn_of
from unlearn_lab.report.html.templates import environment
from unlearn_lab.report.notes import notes
from unlearn_lab.report.rows import Row, build_rows, key_headings
from unlearn_lab.report.sentences import headlines
from unlearn_lab.report.swept import Names, training
from unlearn_lab.report.terminal.blocks import format_delta, format_pair, format_share
from unlearn_lab.report.terminal.table import legend, title
from unlearn_lab.unlearn.training.curve import Curve

_TEMPLATE = "page.html.j2"
_FIGURE_SPACE = "\u2007"
_MOST_DRAWN = 24


def report_path(home: Path) -> Path:
    """Path of the report of `home`."""
    return home / "results" / "report.html"


def write_report(
    home: Path, records: Sequence[Record], thresholds: VerdictThresholds, *, num_samples: int
) -> Path:
    """Writes the report atomically and returns its path.

    Side files that cannot be read are left out with a warning.

    Args:
        home: the sweep's `runtime.home`.
        records: the records to show.
        thresholds: thresholds between verdicts.
        num_samples: sample answers shown for each leaf, metric, model and precision.
    """
    path = report_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = render(home, records, thresholds, num_samples=num_samples)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(page, encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def render(
    home: Path, records: Sequence[Record], thresholds: VerdictThresholds, *, num_samples: int
) -> str:
    """Renders the page; arguments as in `write_report`.

    Plots of the page that is there are taken over if they would be the same.
    """
    rows = build_rows(records, thresholds)
    leaves = [row.record for row in rows if row.who == "unlearned"]
    names, metrics = Names.of(leaves), shown_metrics(leaves)
    sides = [read_sides(home, leaf) for leaf in leaves]
    drawings = Drawings(report_path(home))
    return (
        environment(Path(__file__).parent)
        .get_template(_TEMPLATE)
        .render(
            title=title(records),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            headlines=headlines(records, thresholds),
            legend=legend("→", records),
            notes=notes(records, thresholds),
            thresholds=thresholds,
            keys=key_headings(records),
            metrics=[metric_title(metric) for metric in metrics],
            recovered=[metric_title(metric) for metric in memories(*leaves)],
            rows=[_cells(row, metrics, memories(*leaves)) for row in rows],
            plots=_plots(drawings, leaves, sides, thresholds),
            curves=_curves(drawings, leaves, sides, names),
            models=_models(drawings, leaves, sides, names),
            leaves=[
                leaf_details(leaf, names, metrics, side.samples, num_samples)
                for leaf, side in zip(leaves, sides, strict=True)
            ],
        )
    )


def _cells(row: Row, metrics: Sequence[str], recovered: Sequence[str]) -> dict[str, object]:
    pairs = [_aligned(row, metric) for metric in metrics]
    returns = [
        cell
        for metric in recovered
        for cell in (format_delta(row.delta(metric)), format_share(row.share(metric)))
    ]
    cells = {"labels": row.labels, "pairs": pairs, "returns": returns}
    return {**cells, "who": row.who, "verdict": row.verdict or "control"}


def _aligned(row: Row, metric: str) -> str:
    """Pads a pair of scores with digit-wide spaces, as the page's font is proportional."""
    pair = format_pair(*row.scores(metric), "→", both=row.quantized)
    return pair.replace(" ", _FIGURE_SPACE).replace(f"{_FIGURE_SPACE}→{_FIGURE_SPACE}", " → ")


def _plots(
    drawings: Drawings,
    leaves: Sequence[Record],
    sides: Sequence[SideFiles],
    thresholds: VerdictThresholds,
) -> dict[str, Markup | None]:
    """Returns the plots by name."""
    shown = drawn_of(leaves)
    rates = _flip_rates(leaves, sides)
    return {
        "arrows": drawings.draw("arrows.arrow_plot", shown, thresholds) if shown else None,
        "recovery": drawings.draw("plots.recovery_map", shown) if shown else None,
        "flips": drawings.draw("explanation.flip_map", shown) if shown else None,
        "layers": drawings.draw("plots.layer_map", rates) if rates else None,
    }


def _curves(
    drawings: Drawings, leaves: Sequence[Record], sides: Sequence[SideFiles], names: Names
) -> Markup | None:
    """Returns the plot of the first trainings that were scored while they ran."""
    found: dict[str, tuple[str, Curve]] = {}
    for leaf, side in zip(leaves, sides, strict=True):
        if side.curve is not None:
            found.setdefault(training(leaf), (names.model(leaf), side.curve))
    shown = dict(islice(found.values(), _MOST_DRAWN))
    return drawings.draw("curves.curve_plot", shown) if shown else None


def _models(
    drawings: Drawings, leaves: Sequence[Record], sides: Sequence[SideFiles], names: Names
) -> list[dict[str, object]]:
    """Returns each unlearned model once, regardless of quantizers, with a plot of its layers.

    Limited to `_MOST_DRAWN` models: the plot of a large model takes hundreds of kilobytes.
    """
    found: dict[str, tuple[str, SideFiles]] = {}
    for leaf, side in zip(leaves, sides, strict=True):
        if side.widths:
            found.setdefault(training(leaf), (names.model(leaf), side))
    drawn = [
        (name, drawings.draw("explanation.layer_lines", side.widths, side.mask, f"model{place}"))
        for place, (name, side) in enumerate(islice(found.values(), _MOST_DRAWN))
    ]
    return [{"name": name, "drawing": drawing} for name, drawing in drawn if drawing]


def _flip_rates(
    leaves: Sequence[Record], sides: Sequence[SideFiles]
) -> dict[str, dict[str, float]]:
    """Returns the code-flip rate by layer for every leaf that has per-layer figures."""
    rates: dict[str, dict[str, float]] = {}
    names = Names.of(leaves)
    for leaf, side in zip(leaves, sides, strict=True):
        found = {layer: number(figures, "flip_rate") for layer, figures in side.layers.items()}
        known = {layer: rate for layer, rate in found.items() if rate is not None}
        if known:
            rates[names.leaf(leaf)] = known
    return rates
