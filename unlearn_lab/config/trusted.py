"""Decides whose classes a configuration may name besides this package's."""

import importlib.util
import keyword
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

from unlearn_lab.graph.distributions import installed, of_package, required_by

VARIABLE = "UNLEARN_LAB_TRUST"
"""Environment variable with the packages to trust where `trust` is not given."""
_OURS = ("unlearn_lab", "hydra_plugins")

_names: list[str] = []


def trust(names: Sequence[str]) -> None:
    """Trusts the classes of these packages in this process, instead of those trusted before.

    The packages are imported when a node names one of their classes, from `sys.path` or from the
    working folder. Raises `ValueError` for a name that is not a package of the user's own.
    """
    for name in names:
        reason = why_not(name)
        if reason is not None:
            raise ValueError(
                f"trust=[{name}]: {reason}; must name your own packages or modules, as "
                "trust=[my_parts]"
            )
    folder = os.getcwd()
    if names and folder not in sys.path:
        sys.path.append(folder)
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise ValueError(
                f"trust=[{name}]: no such package in {folder} or on sys.path; "
                "install it, or start in the folder that contains it"
            )
    _names[:] = names


def trusted() -> tuple[str, ...]:
    """Returns the names of the trusted packages."""
    return tuple(_names)


def from_environment() -> list[str]:
    """Returns the packages in $UNLEARN_LAB_TRUST, which are separated by commas."""
    given = os.environ.get(VARIABLE, "").split(",")
    return [name.strip() for name in given if name.strip()]


def why_not(name: str) -> str | None:
    """Returns why a package cannot be trusted; None if it can.

    Libraries cannot: with `os` or `torch` trusted, nothing would be refused any more.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        return "is not the name of a top-level package"
    if name in _OURS:
        return "is part of unlearn_lab"
    if name in sys.stdlib_module_names:
        return "is part of the standard library"
    if name in installed() and not _libraries().isdisjoint(of_package(name)):
        return "is a library that unlearn_lab uses"
    return None


@cache
def _libraries() -> frozenset[str]:
    """Returns the distributions that this one requires, including extras and their requirements.

    Returns all installed ones if this one has no metadata, as when run from a copied folder.
    """
    try:
        metadata("unlearn_lab")
    except PackageNotFoundError:
        return frozenset(one for name in installed() for one in of_package(name))
    return required_by(("unlearn_lab",), extras=True)
