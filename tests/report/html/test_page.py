"""The report: self-contained, escaped, and whole for any sweep."""

import html as stdlib_html
import json
import os
import re
from html.parser import HTMLParser

import matplotlib as mpl
import pytest

from unlearn_lab.report.html import page as html
from unlearn_lab.unlearn.training.curve import Curve, Point, write_curve

ATTACK = "<script>alert('x')</script> & \"quoted\" $x^2$ {{ 7 * 7 }}"


@pytest.fixture
def page(tmp_path, thresholds):
    def written(records, num_samples=2):
        path = html.write_report(tmp_path, records, thresholds, num_samples=num_samples)
        assert path == tmp_path / "results" / "report.html"
        return path.read_text(encoding="utf-8")

    return written


class Outline(HTMLParser):
    """Collects tags with their attributes, and complains about tags that do not match."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def full_page(tmp_path_factory, thresholds, make_side_files, make_sweep):
    """The page of a whole sweep, one leaf of it with side files."""
    home, records = tmp_path_factory.mktemp("home"), make_sweep()
    make_side_files(home, records[6], "see https://example.org/x")
    return html.render(home, records, thresholds, num_samples=2)


def test_headlines_table_plots_and_leaves_are_there(full_page):
    assert re.search("Under rtn4 .*came back .*1 of the 2", full_page)
    assert full_page.count("<svg") == 5
    assert full_page.count("<details>") == 12
    assert full_page.count('class="word comes-back"') == 1
    assert "\u2007\u20074.1 → \u200771.3" in full_page


def test_nothing_is_loaded_from_outside(full_page):
    tags = Outline(full_page).tags
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags}
    for _, attributes in tags:
        for key, value in attributes.items():
            if key in ("src", "href", "xlink:href", "data", "action"):
                assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in full_page
    assert re.findall(r"url\((?!#)", full_page) == []


def test_corpus_text_is_escaped(page, make_record, make_side_files, tmp_path):
    record = make_side_files(tmp_path, make_record(method="<b>ga</b>"), ATTACK)
    text = page([record])
    assert "<script" not in text
    assert "<b>ga" not in text
    assert stdlib_html.escape(ATTACK).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text
    assert "alert" in text


def test_ids_of_the_plots_do_not_collide_and_resolve(full_page):
    ids = [attributes["id"] for _, attributes in Outline(full_page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]+)\)", full_page) + re.findall(r'href="#([^"]+)"', full_page)
    assert used
    assert set(used) <= set(ids)


def test_plots_take_their_colour_from_the_page(full_page):
    assert "currentColor" in full_page
    assert "#0b0c0d" not in full_page
    assert "prefers-color-scheme: dark" in full_page


def test_one_leaf_without_a_quantizer(page, make_record):
    text = page([make_record(quant="none")])
    assert text.count("<svg") == 1
    assert "How much came back" not in text
    assert "No quantizer was run" in text


def test_undefined_shares_are_hatched(page, make_record):
    undefined = {f"recovery__{m}__recovered_share": None for m in ("verbmem", "knowmem")}
    assert "<pattern" not in page([make_record()])
    assert "<pattern" in page([make_record(**undefined)])


def test_no_records(page):
    assert "No results yet." in page([])


def test_a_missing_or_broken_side_file_costs_its_part_only(page, make_record, tmp_path, caplog):
    (tmp_path / "broken.json").write_text('{"layers": {"a"')
    record = make_record(layers="broken.json", samples="missing.json")
    text = page([record])
    assert "Sample answers" not in text
    assert text.count("<svg") == 3
    assert "broken.json" in caplog.text
    assert "missing.json" in caplog.text


def test_samples_are_limited_for_each_metric_model_and_precision(
    page, make_record, make_side_files, tmp_path
):
    record = make_side_files(tmp_path, make_record(), "the answer")
    side = tmp_path / str(record["samples"])
    side.write_text(json.dumps(json.loads(side.read_text()) * 5))
    assert page([record], num_samples=2).count("the answer") == 2 * 8
    assert page([record], num_samples=0).count("the answer") == 0


@pytest.mark.slow
def test_sixty_leaves_with_several_seeds(page, make_record):
    records = [
        make_record(method=f"m{m}", quant=q, seed=s)
        for m in range(5)
        for q in ("none", "rtn4", "rtn8", "nf4")
        for s in (0, 1, 2)
    ]
    text = page(records)
    assert text.count("<details>") == 60
    assert "80 % (3)" in text


def test_a_failed_write_leaves_the_old_report_and_no_draft(
    page, make_record, tmp_path, monkeypatch
):
    before = page([make_record()])

    def refuse(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        page([make_record(method="other")])
    folder = tmp_path / "results"
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    assert (folder / "report.html").read_text(encoding="utf-8") == before


def test_matplotlibs_global_state_is_left_alone(page, make_record):
    before = dict(mpl.rcParams)
    page([make_record()])
    assert dict(mpl.rcParams) == before


def test_the_curve_of_a_training_is_drawn_once(page, make_record, tmp_path):
    points = tuple(
        Point(epoch=epoch, full={"knowmem": 90.0 - 9 * epoch}, quantized={"knowmem": 85.0})
        for epoch in (0, 5)
    )
    folder = tmp_path / "cache" / "unlearn" / "k"
    folder.mkdir(parents=True)
    write_curve(folder, Curve(settings={"quantizer": "nf4"}, points=points))
    leaves = [
        make_record(quant=quant) | {"curve": "cache/unlearn/k/curve.json"}
        for quant in ("rtn4", "rtn8")
    ]
    text = page(leaves)
    assert "While unlearning" in text
    assert text.count("npo_gdr · nf4") == 1
    assert "While unlearning" not in page([make_record()])
