"""What the drawings of the weights show, before any ink."""

import re

from unlearn_lab.report.html.explanation import flip_map, layer_lines

LAYERS = [f"model.layers.{block}.{part}" for block in (0, 1) for part in ("q_proj", "up_proj")]


def figures(rate):
    return {"flip_rate": rate, "relative_step": 0.1, "update_kept": None, "zero_bin": 0.4}


WIDTHS = {"4": {name: figures(0.1) for name in LAYERS}, "8": {LAYERS[0]: figures(0.5)}}


def test_a_line_for_each_bit_width_and_a_label_for_each_layer():
    drawing = layer_lines(WIDTHS, {}, "model0")
    assert drawing is not None
    assert ">4 bits<" in drawing
    assert ">8 bits<" in drawing
    assert ">0.q_proj<" in drawing
    assert "mask" not in drawing
    assert set(re.findall(r'id="(\w+)-', drawing)) == {"model0"}


def test_a_mask_has_a_panel_of_its_own():
    drawing = layer_lines(WIDTHS, {f"{LAYERS[0]}.weight": 0.25, "model.norm.weight": 1.0}, "m")
    assert drawing is not None
    assert re.search("units .*mask", drawing)


def test_nothing_known_is_not_drawn():
    assert layer_lines({}, {}, "m") is None
    assert layer_lines({}, {"a.weight": 0.5}, "m") is None


def test_every_leaf_with_both_figures_is_a_point(make_record):
    records = [
        make_record(method=m, quant=q) for m in ("ga", "npo") for q in ("none", "rtn4", "rtn8")
    ]
    drawing = flip_map(records)
    assert drawing is not None
    assert drawing.count(">rtn4<") == drawing.count(">rtn8<") == 1
    assert ">none<" not in drawing
    assert drawing.count(">ga<") == 1
    assert flip_map(records[:1]) is None
    assert flip_map([]) is None


def test_shares_beyond_the_frame_and_many_settings_are_drawn(make_record):
    records = [
        make_record(
            method="npo",
            config__optimizer__lr=rate / 100,
            recovery__verbmem__recovered_share=share,
            codes__flip_rate=0.0,
        )
        for rate, share in zip(range(1, 12), [-9.0, 9.0, *[0.5] * 9], strict=True)
    ]
    drawing = flip_map(records)
    assert drawing is not None
    assert ">npo + adamw<" in drawing, "too many settings: the method stands for them"
