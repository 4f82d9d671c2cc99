"""Locates the package's data: inside the package in a wheel, beside it in a clone."""

import functools
import os
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir(name: str) -> Path:
    """Returns the folder `conf` or `sweeps`; raises `FileNotFoundError` if it is not installed."""
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is missing beside {_PACKAGE}: reinstall unlearn_lab")


def plain_name(name: object) -> str:
    """Returns the name of a sweep, which is also the name of a folder.

    Raises `ValueError` for an empty name, a path, or a name that cannot be printed.
    """
    text = str(name)
    if not text or text in (".", "..") or set(text) & set("/\\") or not text.isprintable():
        raise ValueError(
            f"report.sweep={text!r}: must be a name without slashes that can be printed"
        )
    return text


def plugin_dir() -> Path:
    """Returns the folder of the `hydra_plugins` namespace package with the sweeper."""
    return _PACKAGE / "plugins"


def enter_started_folder() -> None:
    """Changes to the folder where the sweep was started, so that relative paths mean the same.

    The folder is in $UNLEARN_LAB_STARTED_IN. Raises `FileNotFoundError` on a machine without it.
    """
    os.chdir(os.environ["UNLEARN_LAB_STARTED_IN"])


@functools.cache
def named_parts() -> frozenset[str]:
    """Returns the modules of this package whose classes options in conf/ and sweeps/ name."""
    files = (path for name in ("conf", "sweeps") for path in data_dir(name).rglob("*.yaml"))
    named = re.compile(rf"_target_:\s*({_PACKAGE.name}\.[\w.]+)\.\w+")
    return frozenset(match for path in files for match in named.findall(path.read_text("utf-8")))
