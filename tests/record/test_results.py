"""The records file: appended to by many, read after crashes."""

import json
import logging
import math
import multiprocessing
import os

import pytest

from unlearn_lab.record import results


def test_what_is_appended_is_read(tmp_path):
    results.append(tmp_path, {"run_id": "a", "quant": "none", "x": None, "text": "ä\nö"})
    assert results.read_records(tmp_path) == [
        {"run_id": "a", "quant": "none", "x": None, "text": "ä\nö"}
    ]
    assert len(results.records_path(tmp_path).read_bytes().splitlines()) == 1


def test_a_home_without_records_is_empty(tmp_path):
    assert results.read_records(tmp_path) == []


def test_the_latest_line_of_an_id_counts_and_moves_to_the_end(tmp_path):
    for run_id, value in (("a", 1), ("b", 2), ("a", 3)):
        results.append(tmp_path, {"run_id": run_id, "value": value})
    found = [(record["run_id"], record["value"]) for record in results.read_records(tmp_path)]
    assert found == [("b", 2), ("a", 3)]


@pytest.mark.parametrize("torn", [b'{"run_id": "b", "val', b'{"run_id": "b"', b"\xff\xfe{", b"[1]"])
def test_a_torn_line_is_skipped_and_does_not_swallow_the_next(tmp_path, caplog, torn):
    results.append(tmp_path, {"run_id": "a"})
    with results.records_path(tmp_path).open("ab") as stream:
        stream.write(torn)
    results.append(tmp_path, {"run_id": "c"})
    with caplog.at_level(logging.WARNING):
        assert [record["run_id"] for record in results.read_records(tmp_path)] == ["a", "c"]
    assert "line 2 is not a record" in caplog.text


def test_not_finite_figures_become_null_with_a_warning(tmp_path, caplog):
    results.append(tmp_path, {"run_id": "a", "bad": math.nan, "worse": -math.inf, "good": 1.5})
    assert results.read_records(tmp_path) == [
        {"run_id": "a", "bad": None, "worse": None, "good": 1.5}
    ]
    assert "bad, worse" in caplog.text


def test_a_record_without_an_id_is_refused(tmp_path):
    with pytest.raises(ValueError, match="run_id"):
        results.append(tmp_path, {"quant": "none"})


def test_a_line_that_the_disk_took_in_part_is_taken_back(tmp_path, monkeypatch):
    results.append(tmp_path, {"run_id": "a"})
    before = results.records_path(tmp_path).read_bytes()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, text: write(descriptor, text[:5]))
        with pytest.raises(OSError, match=r"only 5 of .* is the disk full"):
            results.append(tmp_path, {"run_id": "b"})
    assert results.records_path(tmp_path).read_bytes() == before


def test_many_processes_lose_no_record(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(tmp_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {record["run_id"] for record in results.read_records(tmp_path)} == {
        f"{n}-{i}" for n in range(3) for i in range(40)
    }
    for line in results.records_path(tmp_path).read_text().splitlines():
        json.loads(line)


def _append_many(home, number):
    for index in range(40):
        results.append(home, {"run_id": f"{number}-{index}", "filler": "x" * 20_000})


def repeat(home, sweep, *ids, **figures):
    for run_id in ids:
        record = {"run_id": run_id, "score": 1.0, "none": None}
        record |= {"sweep": sweep, "time": sweep, "config.report.sweep": sweep}
        results.append(home, record | figures)


def test_a_repeated_sweep_takes_no_result_from_an_earlier_one(tmp_path):
    repeat(tmp_path, "first", "a", "b", settings=[1, 2])
    repeat(tmp_path, "second", "a", settings=(1, 2))
    repeat(tmp_path, "third", "a", "b", "c")
    assert results.read_sweeps(tmp_path) == {
        "first": {"a", "b"},
        "second": {"a"},
        "third": {"a", "b", "c"},
    }
    for sweep, ids in (("first", "ab"), ("second", "a"), ("third", "abc")):
        found = results.read_records(tmp_path, sweep)
        assert sorted(record["run_id"] for record in found) == list(ids)
        assert {record["sweep"] for record in found} == {sweep}
    assert results.read_records(tmp_path, "fourth") == []


def test_an_unchanged_record_is_stored_once_and_a_changed_one_again(tmp_path):
    repeat(tmp_path, "first", "a", "aa")
    repeat(tmp_path, "second", "a", "aa")
    lines = results.records_path(tmp_path).read_text().splitlines()
    assert [json.loads(line)["sweep"] for line in lines] == ["first", "first"]
    repeat(tmp_path, "third", "a", score=2.0)
    repeat(tmp_path, "fourth", "a", score=2.0, new=None)
    lines = results.records_path(tmp_path).read_text().splitlines()
    assert [json.loads(line)["sweep"] for line in lines[2:]] == ["third", "fourth"]
    assert len(results.sweeps_path(tmp_path).read_text().splitlines()) == 6


def test_homes_without_a_list_of_sweeps_are_read(tmp_path):
    """As older versions wrote them: each repeat has lines of its own, which name it."""
    for sweep, ids in (("first", "ab"), ("second", "a"), ("third", "a")):
        repeat(tmp_path, sweep, *ids, only=sweep)
    results.sweeps_path(tmp_path).unlink()
    assert results.read_sweeps(tmp_path) == {"first": {"a", "b"}, "second": {"a"}, "third": {"a"}}
    assert [record["only"] for record in results.read_records(tmp_path, "first")] == [
        "first",
        "third",
    ]
