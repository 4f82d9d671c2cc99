"""What is printed holds no secret and steers no terminal."""

import logging

import pytest

from unlearn_lab.config.paths import plain_name
from unlearn_lab.config.redaction import RedactingFormatter, escape_controls


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\tb\nc\r\nd é 漢 \u200f", "a\tb\nc\r\nd é 漢 \u200f"),
        ("\x1b[2J\x00\x9b\x7f", r"\x1b[2J\x00\x9b\x7f"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
    ],
)
def test_characters_that_steer_a_terminal_are_spelt_out(text, seen):
    assert escape_controls(text) == seen


def test_a_log_line_and_its_traceback_hold_neither(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "known-secret")
    try:
        raise ValueError("with known-secret \x1b")
    except ValueError as error:
        trace = (type(error), error, error.__traceback__)
        record = logging.LogRecord("x", 20, "f", 1, "%s", ("known-secret",), trace)
    line = RedactingFormatter("%(message)s").format(record)
    assert line.startswith("***\nTraceback")
    assert line.endswith(r"with *** \x1b")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "\u202e"])
def test_a_sweep_is_called_by_a_plain_name(name):
    with pytest.raises(ValueError, match=r"^report\.sweep=.*: must be a name"):
        plain_name(name)
    assert plain_name("<b> 1.5") == "<b> 1.5"
