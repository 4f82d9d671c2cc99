"""Installed distributions: which of them brings a package, and what each requires."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires


def of_package(name: str) -> tuple[str, ...]:
    """The distributions that bring a top-level package; its own name where none is known."""
    return tuple(normal(one) for one in installed().get(name, (name,)))


@cache
def required_by(names: tuple[str, ...], *, extras: bool = False) -> frozenset[str]:
    """These distributions and what each requires in turn, with `extras` also for those.

    Names are normal ones; what is not installed requires nothing.
    """
    found, waiting = set[str](), [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            continue
        wanted = [line for line in wanted if extras or "extra ==" not in line]
        waiting += [normal(match[0]) for line in wanted if (match := re.match(r"[\w.-]+", line))]
    return frozenset(found)


@cache
def installed() -> Mapping[str, list[str]]:
    """What is installed: distributions by their top-level packages."""
    return packages_distributions()


def normal(distribution: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
