"""The report's file: left as it is while it would say the same, written anew otherwise."""

import json
from dataclasses import replace

import pytest

from unlearn_lab.report.html import page, report_file


@pytest.fixture
def record(make_record, make_side_files, tmp_path):
    return make_side_files(tmp_path, make_record(), "an answer")


@pytest.fixture
def write(tmp_path, thresholds, record, monkeypatch):
    """Writes the report, and returns its bytes and how often the page was rendered."""
    rendered = []

    def render(*shown, num_samples):
        rendered.append(shown)
        return f'<head><meta name="viewport"></head><h1>{len(rendered)}</h1>'

    monkeypatch.setattr(page, "render", render)

    def written(records=(record,), thresholds=thresholds, num_samples=2):
        path = report_file.write_report(
            tmp_path, list(records), thresholds, num_samples=num_samples
        )
        return path.read_bytes(), len(rendered)

    return written


def test_the_page_itself_is_recognized(record, tmp_path, thresholds, monkeypatch):
    path = report_file.write_report(tmp_path, [record], thresholds, num_samples=1)
    whole = path.read_text(encoding="utf-8")
    assert "an answer" in whole
    monkeypatch.setattr(page, "render", None)
    report_file.write_report(tmp_path, [record], thresholds, num_samples=1)
    assert path.read_text(encoding="utf-8") == whole


def test_the_same_results_leave_the_file_as_it_is(write, tmp_path):
    first, _ = write()
    path = report_file.report_path(tmp_path)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert write() == (first, 1)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_another_figure_order_threshold_or_number_of_samples_is_another_page(
    write, record, make_record, thresholds
):
    other = make_record(run_id="other", scores__unlearned__full__verbmem=12.5)
    write()
    assert write([{**record, "scores.unlearned.full.verbmem": 12.5}])[1] == 2
    assert write([record, other])[1] == 3
    assert write([other, record])[1] == 4
    assert write(thresholds=replace(thresholds, return_margin=7.0))[1] == 5
    assert write(num_samples=1)[1] == 6


@pytest.mark.parametrize("key", ["layers", "samples"])
def test_another_side_file_is_another_page(write, record, tmp_path, key):
    write()
    side = tmp_path / str(record[key])
    side.write_text(json.dumps({} if key == "layers" else []))
    assert write()[1] == 2
    side.unlink()
    assert write()[1] == 2  # a missing file says as much as an empty one


@pytest.mark.parametrize("name", ["page.py", "templates/page.html.j2", "style.css"])
def test_other_code_is_another_page(write, tmp_path, monkeypatch, name):
    package = tmp_path / "package"
    (package / name).parent.mkdir(parents=True)
    (package / name).write_text("1")
    monkeypatch.setattr(report_file, "_PACKAGE", package)
    write()
    assert write()[1] == 1
    (package / name).write_text("2")
    assert write()[1] == 2


def test_another_version_of_a_library_is_another_page(write, monkeypatch):
    write()
    monkeypatch.setattr(report_file, "version", lambda name: "0.0.1")
    assert write()[1] == 2


@pytest.mark.parametrize(
    "broken",
    [
        lambda page: page[:-10],
        lambda page: page.replace(b"<h1>", b"<h1>Not "),
        lambda page: page.replace(b'name="digest"', b'name="other"'),
        lambda page: b"",
    ],
)
def test_a_file_that_was_changed_is_written_anew(write, tmp_path, broken):
    write()
    path = report_file.report_path(tmp_path)
    path.write_bytes(broken(path.read_bytes()))
    assert write()[1] == 2
    assert b"<h1>Not" not in write()[0]
    assert write()[1] == 2
