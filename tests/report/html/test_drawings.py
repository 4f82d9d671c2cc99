"""Plots are taken over from the page that is there while they would be the same."""

import re
from dataclasses import replace

import pytest

from unlearn_lab.report.html import arrows, curves, drawings, explanation, page, plots
from unlearn_lab.report.html.drawings import Drawings
from unlearn_lab.unlearn.training.curve import Curve, Point


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: a small picture of what is shown, however large."""
    found = []

    def draw(*inputs):
        found.append(inputs)
        return f"<svg>{len(found)}</svg>" if inputs[0] else None

    monkeypatch.setattr(plots, "layer_map", draw)
    monkeypatch.setattr(curves, "curve_plot", draw)
    return found


@pytest.fixture
def write(tmp_path):
    """Draws one plot as on a page that is written anew, over and over; returns its text."""

    def written(*inputs, plot="plots.layer_map"):
        path = tmp_path / "page.html"
        drawing = Drawings(path).draw(plot, *inputs)
        path.write_text(f"<html>{drawing}<p>text</p></html>", encoding="utf-8")
        return str(drawing)

    return written


def test_the_same_is_drawn_once(write, drawn):
    first = write({"leaf": {"layer": 0.25}})
    assert "<svg>1</svg>" in first
    assert write({"leaf": {"layer": 0.25}}) == first
    assert len(drawn) == 1


def test_other_figures_or_another_plot_are_drawn(write, drawn):
    write({"leaf": {"layer": 0.25}})
    assert "<svg>2</svg>" in write({"leaf": {"layer": 0.5}})
    assert "<svg>3</svg>" in write({"leaf": {"layer": 0.25}, "other": {"layer": 0.25}})
    assert "<svg>4</svg>" in write(
        {"leaf": {"layer": 0.25}, "other": {"layer": 0.25}}, plot="curves.curve_plot"
    )


def test_dataclasses_are_compared_by_their_values(write, drawn):
    curve = Curve(
        settings={"quantizer": "rtn4"}, points=(Point(epoch=0, full={"a": 1.0}, quantized={}),)
    )
    first = write({"key": ("name", curve)}, plot="curves.curve_plot")
    assert write({"key": ("name", replace(curve))}, plot="curves.curve_plot") == first
    longer = replace(curve, points=curve.points * 2)
    assert write({"key": ("name", longer)}, plot="curves.curve_plot") != first


def test_what_cannot_be_drawn_is_none(write, drawn):
    assert write({}) == write({}) == "None"


def test_other_code_or_another_library_draws_anew(write, drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "_PACKAGE", tmp_path / "package")
    (tmp_path / "package").mkdir()
    for number, (text, version) in enumerate([("1", "1.0"), ("2", "1.0"), ("2", "2.0")], 1):
        (tmp_path / "package" / "code.py").write_text(text)
        monkeypatch.setattr(drawings, "version", lambda name, version=version: version)
        for _ in range(2):
            drawings._code.cache_clear()
            assert f"<svg>{number}</svg>" in write({"leaf": {"layer": 0.25}})
    drawings._code.cache_clear()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("<svg>1", "<svg>9"),
        lambda text: text.replace("<!-- end", "<!-- no end"),
        lambda text: re.sub("drawing [0-9a-f]{8}", "drawing 00000000", text),
        lambda text: text[: len(text) // 2],
    ],
)
def test_a_drawing_that_was_changed_is_drawn_anew(write, drawn, tmp_path, change):
    write({"leaf": {"layer": 0.25}})
    path = tmp_path / "page.html"
    path.write_text(change(path.read_text()))
    assert "<svg>2</svg>" in write({"leaf": {"layer": 0.25}})


def test_a_file_that_is_no_text_counts_as_none(tmp_path, drawn):
    (tmp_path / "page.html").write_bytes(b"\xff\xfe<svg>")
    for place in (tmp_path / "page.html", tmp_path, tmp_path / "none", None):
        assert Drawings(place).draw("plots.layer_map", {"leaf": {"layer": 1.0}})


def test_a_repeated_sweep_draws_nothing(
    make_sweep, make_side_files, thresholds, tmp_path, monkeypatch
):
    records = make_sweep()
    make_side_files(tmp_path, records[6], "an answer")
    path = page.write_report(tmp_path, records, thresholds, num_samples=1)
    first = path.read_text(encoding="utf-8")
    for module in (arrows, curves, explanation, plots):
        monkeypatch.setattr(module, "new_figure", None)
    changed = {"sweep": "again", "time": "later", "config.report.wandb.mode": "offline"}
    again = [{**record, **changed} for record in records]
    page.write_report(tmp_path, again, thresholds, num_samples=1)
    second = path.read_text(encoding="utf-8")
    drawing = re.compile("<svg.*?</svg>", re.DOTALL)
    assert drawing.findall(second) == drawing.findall(first)
    assert "<title>unlearn_lab: again" in second
