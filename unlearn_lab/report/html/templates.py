"""Loads the templates of HTML pages, which share a style sheet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(folder: Path, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Returns an environment that escapes all values, and refuses undefined ones.

    Args:
        folder: the folder of the page's template; `style.css` lies beside this module.
        finalize: applied to every value that is shown.
    """
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
