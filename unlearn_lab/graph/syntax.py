"""Reads a module's source without importing it: a digest of its code, and its imports."""

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

_IGNORED = frozenset(("ctx", "kind", "type_comment", "type_ignores"))
"""Fields that do not affect execution, or that Python versions fill differently."""
_IMPORTERS = ("import_module", "__import__")


@dataclass(frozen=True)
class Import:
    """One imported name: `from .a import b` is `Import("a", 1, "b")`.

    Attributes:
        module: module name without leading dots.
        level: number of leading dots.
        name: name imported from the module; None for `import a`.
    """

    module: str
    level: int
    name: str | None


@dataclass(frozen=True)
class Source:
    """What `read_source` finds in a module.

    Attributes:
        digest: digest of the syntax tree (32 hex digits).
        imports: imported names.
        computed: lines that import a module by a computed name.
    """

    digest: str
    imports: tuple[Import, ...]
    computed: tuple[int, ...]


@cache
def read_source(text: str) -> Source:
    """Parses a module; raises `SyntaxError`.

    The digest (SHA-256, its first 32 hex digits) is that of the syntax tree without docstrings,
    comments, layout and empty fields, and is the same under every supported Python. Imports inside
    functions count; the body of `if TYPE_CHECKING` does not.
    """
    tree = ast.parse(text)
    pieces = list[str]()
    _write(tree, pieces)
    digest = hashlib.sha256("".join(pieces).encode("ascii")).hexdigest()
    found = _Imports()
    found.visit(tree)
    return Source(digest[:32], tuple(dict.fromkeys(found.imports)), tuple(found.lines))


def _write(value: object, pieces: list[str]) -> None:
    """Appends a tree as ASCII text; `ast.dump` prints other fields under other Python versions."""
    if isinstance(value, ast.AST):
        pieces.append(f"({type(value).__name__}")
        if isinstance(value, ast.Constant):
            pieces.append(f" {_spell(value.value)}")
        else:
            for name, inner in ast.iter_fields(value):
                kept = _kept(value, name, inner)
                if name not in _IGNORED and kept is not None and kept != []:
                    pieces.append(f" {name}=")
                    _write(kept, pieces)
        pieces.append(")")
    elif isinstance(value, list):
        pieces.append("[")
        for item in value:
            _write(item, pieces)
            pieces.append(",")
        pieces.append("]")
    else:
        pieces.append(_spell(value))


def _kept(node: ast.AST, name: str, value: object) -> object:
    """Returns a field without what does not count: docstrings, empty pieces of an f-string."""
    if isinstance(node, ast.JoinedStr) and name == "values":
        return _merged(node.values)
    if name == "format_spec" and isinstance(value, ast.JoinedStr) and not _merged(value.values):
        return None
    if isinstance(value, list) and name in ("body", "orelse", "finalbody"):
        return [statement for statement in value if not _is_text(statement)]
    return value


def _spell(value: object) -> str:
    """Spells a constant in ASCII, with its type; `repr` escapes by Python's Unicode version."""
    text = format(value, "x") if type(value) is int else ascii(value)
    return f"{type(value).__name__}:{text}"


def _merged(pieces: Sequence[ast.expr]) -> list[ast.expr]:
    """Joins adjacent constants of an f-string and drops empty ones."""
    merged = list[ast.expr]()
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, ast.Constant):
            if piece.value == "":
                continue
            if isinstance(last, ast.Constant):
                merged[-1] = ast.Constant(f"{last.value}{piece.value}")
                continue
        merged.append(piece)
    return merged


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a bare string: a docstring, also one of an attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@dataclass
class _Imports(ast.NodeVisitor):
    imports: list[Import] = field(default_factory=list[Import])
    lines: list[int] = field(default_factory=list[int])

    def visit_Import(self, node: ast.Import) -> None:
        self.imports += [Import(alias.name, 0, None) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports += [Import(node.module or "", node.level, alias.name) for alias in node.names]

    def visit_If(self, node: ast.If) -> None:
        named = getattr(node.test, "id", getattr(node.test, "attr", None))
        for statement in node.orelse if named == "TYPE_CHECKING" else [node.test, *node.body]:
            self.visit(statement)
        if named != "TYPE_CHECKING":
            for statement in node.orelse:
                self.visit(statement)

    def visit_Call(self, node: ast.Call) -> None:
        called = getattr(node.func, "id", getattr(node.func, "attr", None))
        if called in _IMPORTERS:
            given = node.args[0] if node.args else None
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                name = given.value.lstrip(".")
                self.imports.append(Import(name, len(given.value) - len(name), None))
            else:
                self.lines.append(node.lineno)
        self.generic_visit(node)
