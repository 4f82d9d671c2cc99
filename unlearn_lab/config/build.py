"""Builds objects from checked configuration nodes; the only caller of `hydra.utils.instantiate`."""

import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from beartype.door import is_bearable
from hydra.utils import instantiate

from unlearn_lab.config.conf_folder import option_exists
from unlearn_lab.config.trusted import trusted, why_not

Node = Mapping[str, Any]
Built = TypeVar("Built")

_ALLOWED = ("unlearn_lab", "torch.optim")


class Refused(ValueError):
    """A request that cannot be carried out as configured.

    The message is one line: config path, value, what is allowed.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part(Generic[Built]):
    """An object with the node it was built from.

    Attributes:
        value: the object.
        node: its configuration node.
        path: config path of the node.
        module: module that defines the object's class.
        inner: the parts inside it, by field.
    """

    value: Built
    node: Node
    path: str
    module: str
    inner: Mapping[str, "Part[Any]"]


def build(node: Node, expected: type[Built], path: str) -> Built:
    """Builds the object that a node describes.

    Raises `Refused` for a target outside the allowed packages, unknown, missing or mistyped fields,
    and impossible values.

    Args:
        node: mapping with a `_target_`.
        expected: class or protocol that the object must satisfy.
        path: config path of the node, for messages.
    """
    return assemble(node, expected, path).value


def assemble(node: Node, expected: type[Built], path: str) -> Part[Built]:
    """Builds the object with the parts inside it; arguments and errors are those of `build`."""
    check(node, path)
    made = _make(node, path)
    if not isinstance(made.value, expected):
        raise Refused(f"{path}: {node['_target_']} is not of type {expected.__name__}")
    return made


def assemble_partial(node: Node, path: str, *, given: tuple[str, ...]) -> Part[Callable[..., Any]]:
    """Builds a callable that still takes some arguments (a torch optimizer takes `params`).

    Args:
        node: mapping with a `_target_`.
        path: config path of the node, for messages.
        given: names of the arguments that the caller adds.
    """
    check(node, path, given=given)
    inner = _inner(node, path)
    return _part(
        partial(_target(str(node["_target_"])), **_arguments(node, path, inner)), node, path, inner
    )


def _make(node: Node, path: str) -> Part[Any]:
    inner = _inner(node, path)
    arguments = _arguments(node, path, inner)
    try:
        return _part(_target(str(node["_target_"]))(**arguments), node, path, inner)
    except ValueError as error:
        raise Refused(placed(error, path)) from error


def _part(value: Any, node: Node, path: str, inner: Mapping[str, Part[Any]]) -> Part[Any]:
    module = _class(str(node["_target_"]), path).__module__
    return Part(value=value, node=node, path=path, module=module, inner=inner)


@cache
def _target(target: str) -> Callable[..., Any]:
    return instantiate({"_target_": target}, _partial_=True)


def _inner(node: Node, path: str) -> dict[str, Part[Any]]:
    """Builds the parts inside a node, first, so that a message names the innermost config path."""
    hints = _fields(_class(str(node["_target_"]), path), path)
    found = dict[str, Part[Any]]()
    for name, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            place = f"{path}.{name}"
            if not hints[name].wants_callable:
                found[name] = _make(value, place)
                continue
            inner = _inner(value, place)
            made = partial(_class(str(value["_target_"]), place), **_arguments(value, place, inner))
            found[name] = _part(made, value, place, inner)
    return found


def _arguments(node: Node, path: str, inner: Mapping[str, Part[Any]]) -> dict[str, object]:
    """Returns the node's values, converted to the types that its target takes."""
    hints = _fields(_class(str(node["_target_"]), path), path)
    return {
        name: inner[name].value if name in inner else _as_wanted(value, hints[name].hint)
        for name, value in node.items()
        if name != "_target_"
    }


def check(node: object, path: str, *, given: tuple[str, ...] | None = ()) -> None:
    """Compares a node, and every node inside it, with the signatures of their targets.

    Raises `Refused` for the first difference.

    Args:
        node: mapping with a `_target_`.
        path: config path of the node, for messages.
        given: arguments that may be missing because the caller adds them; None: any may.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise Refused(f"{path}={node!r}: must be a mapping with a _target_")
    target = _class(str(node["_target_"]), path)
    allowed = _fields(target, path)
    for name, value in node.items():
        if name == "_target_":
            continue
        if name not in allowed:
            raise Refused(
                f"{path}.{name}: unknown option of {target.__name__}{_nearest(name, allowed)}"
            )
        _check_value(value, allowed[name], f"{path}.{name}")
    missing = [
        name
        for name, hint in allowed.items()
        if name not in node and given is not None and name not in given and hint.required
    ]
    if missing:
        raise Refused(f"{path}.{missing[0]}: missing; {target.__name__} needs {', '.join(missing)}")


def locate(name: str, path: str) -> Callable[..., Any]:
    """Returns the class `name` ("package.module.Class"), or a stage's builder ("module:build...").

    It must be defined in an allowed package or, for a class, in one that the user trusts
    (`trusted`); being importable from there is not enough. Raises `Refused` otherwise, and for any
    other function, as calling it might do anything.
    """
    module, _, attribute = name.replace(":", ".").rpartition(".")
    allowed = _ALLOWED if ":" in name else (*_ALLOWED, *trusted())
    if not _within(module, allowed):
        raise _foreign(name, path, name, allowed)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise Refused(f"{path}._target_={name}: {error}") from error
    home = str(getattr(found, "__module__", ""))
    if not callable(found) or not _within(home, allowed):
        raise _foreign(name, path, home, allowed)
    if not (attribute.startswith("build") if ":" in name else isinstance(found, type)):
        raise Refused(f"{path}._target_={name}: only classes may be instantiated")
    return found


def _within(module: str, packages: Iterable[str]) -> bool:
    return f"{module}.".startswith(tuple(f"{package}." for package in packages))


def _foreign(name: str, path: str, home: str, allowed: Sequence[str]) -> Refused:
    """Returns the error for a target defined in `home`, with `trust` as way out where possible."""
    rule = f"only {', '.join(allowed[:-1])} and {allowed[-1]} may be instantiated"
    if home != name:
        rule += f", this is {home}"
    package = home.split(".")[0]
    if ":" not in name and package not in allowed and why_not(package) is None:
        rule += f"; trust=[{package}] allows classes of your own package"
    return Refused(f"{path}._target_={name}: {rule}")


def _class(name: str, path: str) -> type:
    found = locate(name, path)
    if not isinstance(found, type):
        raise Refused(f"{path}._target_={name}: only classes may be instantiated")
    return found


@dataclasses.dataclass(frozen=True)
class _Field:
    hint: Any
    required: bool

    @property
    def wants_callable(self) -> bool:
        """Whether the field takes a callable, so that its node may lack arguments."""
        return get_origin(self.hint) is Callable


def _fields(target: type, path: str) -> dict[str, _Field]:
    parameters = inspect.signature(target).parameters.values()
    try:
        hints = get_type_hints(target if dataclasses.is_dataclass(target) else target.__init__)
    except NameError as error:
        raise Refused(
            f"{path}: a type annotation of {target.__name__} is unknown at run time ({error})"
        ) from error
    return {
        p.name: _Field(hints.get(p.name, Any), p.default is inspect.Parameter.empty)
        for p in parameters
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    }


def _check_value(value: object, field: _Field, path: str) -> None:
    if isinstance(value, Mapping):
        if "_target_" in value:
            check(value, path, given=None if field.wants_callable else ())
            return
        for name, inner in value.items():
            if isinstance(inner, Mapping) and "_target_" in inner:
                check(inner, f"{path}.{name}")
    if not _fits(value, field.hint):
        named = isinstance(value, str) and option_exists(path.replace(".", "/"), value)
        way = f"; choose it by {path.replace('.', '/')}={value}" if named else ""
        raise Refused(f"{path}={value!r}: must be {_spell(field.hint)}{way}")


def _fits(value: object, hint: Any) -> bool:
    if isinstance(value, bool):  # an int in Python, but not in a configuration
        return is_bearable(value, hint) and (hint is Any or "bool" in str(hint))
    return is_bearable(_as_wanted(value, hint), hint)


def _as_wanted(value: object, hint: Any) -> object:
    """Converts YAML's 1 to 1.0 or "1" where a float or text is expected, and lists to tuples."""
    if is_bearable(value, hint):
        return value
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return float(value) if _is_float(value, hint) else str(value)


def _is_float(value: int, hint: Any) -> bool:
    try:
        return is_bearable(float(value), hint)
    except OverflowError:
        return False


def _spell(hint: object) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    given = get_args(hint)
    if type(None) in given:
        kinds = " or ".join(_spell(kind) for kind in given if kind is not type(None))
        return f"{kinds}, or null"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return (
        f"; did you mean {close[0]}? It has {', '.join(known)}"
        if close
        else f"; it has {', '.join(known)}"
    )


def placed(error: ValueError, path: str) -> str:
    """Returns the error in one line, which begins with the full path of the setting.

    A message that begins with `field=` is about a setting below `path`.
    """
    reason = " ".join(str(error).split())
    if re.match(rf"{re.escape(path)}[.=:]", reason):
        return reason
    return f"{path}.{reason}" if re.match(r"[\w.]+=", reason) else f"{path}: {reason}"
