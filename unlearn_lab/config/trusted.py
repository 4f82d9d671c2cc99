"""Whose classes a configuration may name, besides this package's: packages that the user trusts."""

import importlib.util
import keyword
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

from unlearn_lab.graph.distributions import installed, of_package, required_by

VARIABLE = "UNLEARN_LAB_TRUST"
"""The environment variable with the packages that are trusted where `trust` is not given."""
_OURS = ("unlearn_lab", "hydra_plugins")

_names: list[str] = []


def trust(names: Sequence[str]) -> None:
    """From now on this process builds classes of these packages, and of no others named before.

    They are imported when a class of theirs is asked for, from where Python finds them or from the
    working folder. Raises `ValueError` for what is no package of the user's.
    """
    for name in names:
        reason = why_not(name)
        if reason is not None:
            raise ValueError(
                f"trust=[{name}]: {reason}; must name packages or modules of yours, as "
                "trust=[my_parts]"
            )
    folder = os.getcwd()
    if names and folder not in sys.path:
        sys.path.append(folder)
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise ValueError(
                f"trust=[{name}]: there is no such package in {folder} or where Python looks; "
                "install it, or start in the folder that holds it"
            )
    _names[:] = names


def trusted() -> tuple[str, ...]:
    """The names of the packages that are trusted."""
    return tuple(_names)


def from_environment() -> list[str]:
    """The packages in $UNLEARN_LAB_TRUST, parted by commas."""
    given = os.environ.get(VARIABLE, "").split(",")
    return [name.strip() for name in given if name.strip()]


def why_not(name: str) -> str | None:
    """Why a package cannot be trusted; None where it can.

    Libraries cannot: with `os` or `torch` trusted, nothing would be refused any more.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        return "is not the name of a top-level package"
    if name in _OURS:
        return "is this package's own"
    if name in sys.stdlib_module_names:
        return "belongs to Python"
    if name in installed() and not _libraries().isdisjoint(of_package(name)):
        return "is a library that unlearn_lab uses"
    return None


@cache
def _libraries() -> frozenset[str]:
    """The distributions that this one needs, extras and theirs included.

    All that are installed where this one's own metadata is missing: run from a copied folder.
    """
    try:
        metadata("unlearn_lab")
    except PackageNotFoundError:
        return frozenset(one for name in installed() for one in of_package(name))
    return required_by(("unlearn_lab",), extras=True)
