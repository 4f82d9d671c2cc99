"""The terminal table at every width, as text and with colours."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import unlearn_lab
from unlearn_lab.report.terminal.blocks import format_delta, format_pair, format_share
from unlearn_lab.report.terminal.table import open_console, print_results


@pytest.fixture
def printed(thresholds):
    def at_width(records, width, **console):
        stream = io.StringIO()
        target = Console(file=stream, width=width, highlight=False, **console)
        print_results(target, records, thresholds)
        return stream.getvalue()

    return at_width


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_no_number_is_cut_at_any_width(printed, sweep, width):
    shown = printed(sweep, width)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for number in ("4.1 →  71.3", "6.2 →  55.0", "61.0 →  64.2", "41.5 → -97.3", "+67.2", "80 %"):
        assert number in shown
    for word in ("destroyed", "not forgotten", "comes back", "stays forgotten", "control"):
        assert word in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_many_swept_settings_fold_the_keys_and_lose_nothing(printed, make_record, width):
    records = [
        make_record(
            seed=s, config__optimizer__lr=lr, config__model__path=f"/models/{'long-' * 9}{p}"
        )
        for s in (0, 1)
        for lr in (1e-5, 1e-4)
        for p in "ab"
    ]
    shown = printed(records, width)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count("71.3") == len(records)
    assert "long-" * 9 + "b" in re.sub(r"[^a-z-]", "", shown) or width < 80


def test_wide_terminals_get_one_table_and_narrow_ones_several(printed, sweep):
    tables = {width: printed(sweep, width).count("method   optimizer") for width in (80, 120, 160)}
    assert tables == {80: 3, 120: 2, 160: 1}


def test_an_unquantized_row_shows_one_number_and_dashes(printed, make_record):
    shown = printed([make_record(quant="none")], 160)
    row = next(line for line in shown.splitlines() if line.startswith("npo_gdr"))
    assert row.split() == ["npo_gdr", "adamw", "none", "4.1", "6.2", "61.0", "41.5",
                           "-", "-", "-", "-", "forgotten"]  # fmt: skip
    assert "→" not in row


def test_an_undefined_share_is_a_dash(printed, make_record):
    shown = printed([make_record(recovery__verbmem__recovered_share=None)], 160)
    row = next(line for line in shown.splitlines() if line.startswith("npo_gdr"))
    assert row.split()[-7:] == ["+67.2", "-", "+48.8", "74", "%", "comes", "back"]


def test_a_seed_column_appears_only_with_several_seeds(printed, make_record):
    one, two = [make_record()], [make_record(), make_record(seed=1)]
    assert "seed" not in printed(one, 160)
    assert "seed" in printed(two, 160)


def test_colours_on_a_terminal_only(printed, sweep):
    assert "\x1b[" not in printed(sweep, 120)
    assert "\x1b[" in printed(sweep, 120, force_terminal=True, color_system="standard")


def test_an_ascii_stream_gets_ascii_arrows_and_lines(sweep, thresholds):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    print_results(Console(file=stream, width=100, highlight=False), sweep, thresholds)
    stream.flush()
    assert b"4.1 ->  71.3" in raw.getvalue()


def test_a_pipe_is_as_wide_as_columns_says(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.delenv("COLUMNS", raising=False)
    assert open_console(stream).width == 120
    monkeypatch.setenv("COLUMNS", "97")
    assert open_console(stream).width == 97
    assert not open_console(stream).is_terminal


def test_names_are_not_read_as_markup(printed, make_record):
    assert "[red]x" in printed([make_record(method="[red]x")], 120)


def test_no_records_is_said(printed):
    assert printed([], 80) == "No results yet.\n"


def test_formats():
    assert format_pair(4.0, None, "→", both=True) == "  4.0 →     -"
    assert format_pair(None, None, "→", both=False) == "    -"
    assert format_share(-0.034) == "-3 %"
    assert format_delta(0.0) == "+0.0"


def test_no_score_is_written_as_minus_zero():
    """The option z of the format drops the sign of -0.0; every format of a score has it."""
    package = Path(unlearn_lab.__file__).parent
    folders = [package / name for name in ("record", "report", "published", "cache")]
    files = [
        file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".j2")
    ]
    bare = {
        f"{file.name}: {found}"
        for file in files
        for found in re.findall(r"\{[^{}]*:[^{}z]*\.(?:\d|\{\w+\})f\}?", file.read_text())
    }
    assert {one.split(":")[0] for one in bare} <= {"closing.py", "words.py"}, bare
