"""Finds the modules that a class or builder depends on, by reading source files, not importing."""

import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

from unlearn_lab.graph.distributions import of_package, required_by
from unlearn_lab.graph.syntax import Import, Source, read_source

PROJECT = "unlearn_lab"


@dataclass(frozen=True)
class Module:
    """A module of a followed package.

    Attributes:
        name: dotted name.
        is_package: whether it is a package.
        path: source file; None for a namespace package.
        source: what was read from it; None for a namespace package.
    """

    name: str
    is_package: bool
    path: Path | None
    source: Source | None


def closure(
    module: str, roots: Collection[str] = (PROJECT,), *, stop: Collection[str] = ()
) -> dict[str, Module]:
    """Returns a module and the modules of packages `roots` that it imports, at any depth, by name.

    Parent packages count too: importing `a.b` runs `a`. Raises `ValueError` for a module that
    cannot be found or read.

    Args:
        module: dotted name to start from.
        roots: top-level packages whose modules are followed.
        stop: modules to leave out, with what only they import; `module` itself is never left out.
    """
    found, waiting = dict[str, Module](), [module]
    while waiting:
        name = waiting.pop()
        if name in found or (name in stop and name != module):
            continue
        found[name] = read_module(name)
        waiting += [one for one in _imported(found[name], roots) if one.partition(".")[0] in roots]
        waiting += _parents(name)
    return found


def digests(modules: Mapping[str, Module]) -> dict[str, str]:
    """Returns the digest of every module that has a file, sorted by name."""
    return {
        name: modules[name].source.digest  # pyright: ignore[reportOptionalMemberAccess]
        for name in sorted(modules)
        if modules[name].source is not None
    }


def changed(recorded: Mapping[str, str]) -> list[str]:
    """Returns the modules whose files differ from the recorded digests or are missing."""
    return [name for name, digest in recorded.items() if _digest_now(name) != digest]


def require_followed(modules: Iterable[Module]) -> None:
    """Raises `ValueError` for a module that imports another one by a computed name."""
    for module in modules:
        if module.source is not None and module.source.computed:
            raise ValueError(
                f"{module.path}:{module.source.computed[0]}: imports a module by a computed name, "
                "so its code cannot be made part of the key; write the name out"
            )


def distributions(modules: Iterable[Module], roots: Collection[str]) -> dict[str, Module]:
    """Returns the third-party distributions that modules import, each with one importing module.

    Distributions that unlearn_lab requires without an extra are left out: they are always present.
    """
    found = dict[str, Module]()
    for module in modules:
        for name in _imported(module, roots=()):
            root = name.partition(".")[0]
            if root not in sys.stdlib_module_names and root not in roots and root != PROJECT:
                for distribution in of_package(root):
                    found.setdefault(distribution, module)
    return {name: module for name, module in found.items() if name not in required_by((PROJECT,))}


@cache
def read_module(name: str) -> Module:
    """Returns a module as first read by this process; raises `ValueError` if it cannot be read."""
    spec = _spec(name)
    if spec is None:
        raise ValueError(f"module {name} cannot be found")
    is_package = spec.submodule_search_locations is not None
    path = _path(spec)
    return Module(name, is_package, path, None if path is None else _read(path))


def _digest_now(name: str) -> str | None:
    """Returns the digest of a module's current file; None if there is no readable one."""
    try:
        spec = _spec(name)
        path = None if spec is None else _path(spec)
        return None if path is None else _read(path).digest
    except (ValueError, OSError):
        return None


def _read(path: Path) -> Source:
    try:
        return read_source(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as Python ({error})") from error


def _path(spec: ModuleSpec) -> Path | None:
    """Returns the source file of a module; None for a namespace package."""
    if spec.origin is None and spec.submodule_search_locations is not None:
        return None
    if spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
        raise ValueError(
            f"module {spec.name} ({spec.origin}) is compiled, so its code cannot be made part of "
            "the key; install it as a distribution and declare that in `libraries`"
        )
    return Path(spec.origin)


def _spec(name: str) -> ModuleSpec | None:
    """Finds a module through its parent's search path, without importing anything."""
    parent, _, _ = name.rpartition(".")
    if not parent:
        return importlib.util.find_spec(name)
    above = _spec(parent)
    if above is None or above.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(above.submodule_search_locations))


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


def _imported(module: Module, roots: Collection[str]) -> Iterator[str]:
    """Yields the absolute names that a module imports; `from a import b` may mean the module `a.b`.

    Whether it does is checked only for packages in `roots`.
    """
    for one in () if module.source is None else module.source.imports:
        base = _absolute(one, module)
        yield base
        inner = f"{base}.{one.name}"
        if one.name not in (None, "*") and base.partition(".")[0] in roots and _is_module(inner):
            yield inner


def _absolute(one: Import, module: Module) -> str:
    if one.level == 0:
        return one.module
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for _ in range(one.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{one.module}".rstrip(".")


@cache
def _is_module(name: str) -> bool:
    return _spec(name) is not None
