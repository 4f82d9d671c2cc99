"""The last lines of a sweep."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from unlearn_lab.report.terminal.closing import (
    Closing,
    FailedLeaf,
    StageTally,
    format_seconds,
    print_closing,
)


@pytest.fixture
def shown():
    def at_width(width=80, **changes):
        closing = {
            "done": 3,
            "stages": [StageTally(stage="unlearn", built=2, reused=1, seconds=204.0)],
            "failed": [FailedLeaf(leaf="quant=gptq4 [b]", reason="group_size=100 " * 9)],
            "skipped": [],
            "again": [],
            "records": Path("/very" * 30 + "/records.jsonl"),
            "report": Path("/home/report.html"),
            "wandb": "kept offline",
        }
        stream = io.StringIO()
        console = Console(file=stream, width=width, highlight=False)
        print_closing(console, Closing(**(closing | changes)))
        return stream.getvalue()

    return at_width


def test_everything_is_said(shown):
    said = shown()
    assert "leaves: 3 done, 1 failed" in said
    assert "unlearn      2       1  3 min 24 s" in said
    assert "failed: quant=gptq4 [b]" in said
    assert said.count("group_size=100") == 9
    assert "W&B:     kept offline" in said


def test_paths_stay_on_one_line(shown):
    assert f"records: {'/very' * 30}/records.jsonl\n" in shown(width=40)


def test_nothing_is_said_about_what_is_not_there(shown):
    said = shown(failed=[], report=None, wandb="", stages=[])
    assert "report" not in said
    assert "W&B" not in said
    assert "stage" not in said
    assert "0 failed" in said


def test_skipped_leaves_have_reasons(shown):
    said = shown(skipped=[FailedLeaf(leaf="b", reason="same as a")])
    assert "1 skipped" in said
    assert "same as a" in said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.44, "0.4 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (204.0, "3 min 24 s"),
     (7500.0, "2 h 05 min")],
)  # fmt: skip
def test_seconds_are_readable(seconds, words):
    assert format_seconds(seconds) == words


def test_why_stages_were_built_again_is_said(shown):
    assert "built again: code of npo.py changed" in shown(again=["code of npo.py changed"])
