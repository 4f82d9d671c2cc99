"""What the plots show, before any ink."""

import re

import pytest

from unlearn_lab.report.html.drawing import new_figure, to_svg
from unlearn_lab.report.html.plots import layer_map, recovery_map
from unlearn_lab.report.share_grid import share_grid


def test_seeds_share_a_cell_and_quantizers_are_columns(make_record):
    records = [
        make_record(method=m, quant=q, seed=s)
        for m in ("npo", "ga")
        for q in ("rtn8", "rtn4", "none")
        for s in (0, 1)
    ]
    grid = share_grid(records, "verbmem")
    assert grid.models == ("ga", "npo")
    assert grid.quantizers == ("rtn4", "rtn8")
    assert grid.shares["npo", "rtn4"] == pytest.approx([67.2 / 84.3] * 2)


def test_undefined_shares_stay_apart_from_cells_that_were_not_run(make_record):
    records = [
        make_record(method="a", quant="rtn4", recovery__verbmem__recovered_share=None),
        make_record(method="b", quant="rtn8"),
    ]
    grid = share_grid(records, "verbmem")
    assert grid.shares["a", "rtn4"] == [None]
    assert ("a", "rtn8") not in grid.shares


def test_no_quantizer_means_no_map(make_record):
    assert recovery_map([make_record(quant="none")]) is None
    assert layer_map({}) is None


def test_layers_without_any_flip_or_with_gaps_are_drawn():
    drawing = layer_map({"a": {"model.layers.0.q": 0.0}, "b": {"model.layers.1.q": 0.0}})
    assert drawing is not None
    assert ">0.q<" in drawing
    assert ">1.q<" in drawing


def test_two_hundred_layers_keep_their_labels_apart():
    rates = {f"model.layers.{n}.mlp.up_proj": n / 224 for n in range(224)}
    drawing = layer_map({"leaf": rates})
    assert drawing is not None
    assert drawing.count("mlp.up_proj</text>") <= 48


@pytest.mark.parametrize("leaf", ["a", "npo_gdr adamw 0.0001 rtn4 seed 0, a long name"])
def test_the_map_of_layers_is_as_wide_as_its_labels_need(leaf):
    """Labels of 0.075 inches a letter beside columns of 3 inches."""
    drawing = layer_map({leaf: {"model.layers.0.q": 0.1}})
    points = float(re.search(r'viewBox="0 0 ([0-9.]+) ', drawing)[1])
    assert points / 72 == pytest.approx(0.075 * len(leaf) + 4.0, abs=0.01)


def test_an_svg_is_one_element_and_the_same_every_time():
    def draw():
        figure = new_figure(2.0, 1.0)
        figure.subplots().plot([0, 1], [0, 1])
        return to_svg(figure, "probe")

    drawing = draw()
    assert drawing.startswith("<svg")
    assert drawing.endswith("</svg>")
    assert "<metadata" not in drawing
    assert drawing == draw()
