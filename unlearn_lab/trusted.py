"""Whose classes a configuration may name, besides this package's: packages that the user trusts."""

import importlib.util
import keyword
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

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
    if any(_plain(library) in _libraries() for library in _installed().get(name, ())):
        return "is a library that unlearn_lab uses"
    return None


@cache
def _installed() -> dict[str, list[str]]:
    """What is installed: distributions by their top-level packages."""
    return {name: list(found) for name, found in packages_distributions().items()}


@cache
def _libraries() -> frozenset[str]:
    """The installed distributions that this one needs, extras and theirs included.

    All that are installed where this one's own metadata is missing: run from a copied folder.
    """
    found: set[str] = set()
    waiting = ["unlearn_lab"]
    while waiting:
        name = _plain(waiting.pop())
        if name in found:
            continue
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            if name == "unlearn-lab":
                waiting += [library for libraries in _installed().values() for library in libraries]
            continue
        found.add(name)
        waiting += [re.split(r"[^\w.-]", needs, maxsplit=1)[0] for needs in needed]
    return frozenset(found)


def _plain(name: str) -> str:
    """A distribution's name as metadata compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
