"""Compares a message by its parts, so that another wording of the same breaks no test."""

import re


def tells(text: str, *parts: str) -> bool:
    """Whether the text has these parts, in this order."""
    return re.search(".*".join(map(re.escape, parts)), text) is not None
