"""Where the package's own data lies: inside it in a wheel, beside it in a clone."""

import functools
import os
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir(name: str) -> Path:
    """The folder `conf` or `sweeps`; raises `FileNotFoundError` when the installation lacks it."""
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is missing beside {_PACKAGE}: reinstall unlearn_lab")


def plain_name(name: object) -> str:
    """The name of a sweep, which becomes a folder's.

    Raises `ValueError` for one that would lead elsewhere, or that cannot be printed.
    """
    text = str(name)
    if not text or text in (".", "..") or set(text) & set("/\\") or not text.isprintable():
        raise ValueError(
            f"report.sweep={text!r}: must be a name without slashes that can be printed"
        )
    return text


def plugin_dir() -> Path:
    """The folder that holds the `hydra_plugins` namespace with the sweeper."""
    return _PACKAGE / "plugins"


def enter_started_folder() -> None:
    """Makes relative paths mean in a worker what they mean where the sweep was started.

    The folder is in $UNLEARN_LAB_STARTED_IN. Raises `FileNotFoundError` on a machine without it.
    """
    os.chdir(os.environ["UNLEARN_LAB_STARTED_IN"])


@functools.cache
def named_parts() -> frozenset[str]:
    """The modules of this package whose classes the options in conf/ and sweeps/ name."""
    files = (path for name in ("conf", "sweeps") for path in data_dir(name).rglob("*.yaml"))
    named = re.compile(rf"_target_:\s*({_PACKAGE.name}\.[\w.]+)\.\w+")
    return frozenset(match for path in files for match in named.findall(path.read_text("utf-8")))
