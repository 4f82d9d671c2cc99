"""What people are shown in words: no secret, and no character that would steer their terminal."""

import logging
import re

from unlearn_lab.config.confidential import hidden

_STEERING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)"
)
"""Control characters but tab and line ends, and what overrides the direction of writing."""


def visible(text: str) -> str:
    r"""The text with such characters spelt out, as in `\\x1b`."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def told(text: str) -> str:
    """The text as it may be shown or kept in a log."""
    return visible(hidden(text))


class Plain(logging.Formatter):
    """Formats log lines as `told`; the logging configuration names it."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole line, a traceback included."""
        return told(super().format(record))
