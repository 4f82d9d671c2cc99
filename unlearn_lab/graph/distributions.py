"""Looks up installed distributions: which one provides a package, and what each requires."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires


def of_package(name: str) -> tuple[str, ...]:
    """Returns the distributions that provide a top-level package; its own name if none does."""
    return tuple(normal(one) for one in installed().get(name, (name,)))


@cache
def required_by(names: tuple[str, ...], *, extras: bool = False) -> frozenset[str]:
    """Returns these distributions and all that they require, directly or not.

    `extras` includes the requirements of extras. Returned names are normalised; a distribution that
    is not installed requires nothing.
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
    """Returns the installed distributions by top-level package."""
    return packages_distributions()


def normal(distribution: str) -> str:
    """Returns the normalised name of a distribution, by which package indexes compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
