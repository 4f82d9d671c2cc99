"""Checks the types of every call of the project's functions, and the shapes of tensors."""

from importlib.util import cache_from_source
from pathlib import Path

from beartype import BeartypeConf
from beartype.claw import beartype_packages
from jaxtyping import _import_hook, install_import_hook

_PACKAGE = Path(__file__).resolve().parents[1] / "unlearn_lab"
_INSIDE = f"{_PACKAGE}/"
_checked_cache = _import_hook._optimized_cache_from_source


def _cache(typechecker, path, debug_override=None):
    """The bytecode file of a module: of its own for checked ones, the common one for libraries.

    jaxtyping asks for one of its own for every library that a checked module is the first to
    import. Where Python may not write bytecode, each process would compile 4,000 modules (15 s).
    """
    if str(path).startswith(_INSIDE):
        return _checked_cache(typechecker, path, debug_override)
    return cache_from_source(path, debug_override)


def check_types() -> None:
    """Call before the project is imported.

    Shapes are checked in modules that name them; in others only types, which is faster.
    """
    _import_hook._optimized_cache_from_source = _cache
    shaped, others = [], []
    for file in sorted(_PACKAGE.rglob("[!_]*.py")):
        name = ".".join(file.relative_to(_PACKAGE.parent).with_suffix("").parts)
        text = file.read_text(encoding="utf-8")
        # beartype's own hook cannot resolve names that are imported for annotations only
        by_jaxtyping = "from jaxtyping import" in text or "if TYPE_CHECKING:\n" in text
        (shaped if by_jaxtyping else others).append(name)
    beartype_packages(others, conf=BeartypeConf(claw_is_pep526=False))
    install_import_hook(shaped, "beartype.beartype")
