"""Settings that were called otherwise: the old name is refused in one line that has the new one."""

import re
from collections.abc import Iterator, Mapping, Sequence

_MOVED = {"trainer.finetune": "finetune", "quant.export": "export"}


def require_present_names(config: Mapping[str, object]) -> None:
    """Raises `ValueError` for a setting of a composed configuration that has moved."""
    for path, value in _leaves(config, ""):
        _require_present(path, f"={value}")


def require_present_command(arguments: Sequence[str]) -> None:
    """Raises `ValueError` for an override of a setting that has moved, whichever way it is given.

    Most of them no job could be composed with, and Hydra would not know the new name.
    """
    for argument in arguments:
        path, equals, value = argument.lstrip("+~").partition("=")
        _require_present(path, equals + value)


def moved(message: str) -> str | None:
    """What to say instead, when Hydra's message is about an override of a setting that has moved.

    So it is where a preset sweeps over one.
    """
    found = re.search(r"Could not override '([\w.]+)'", message)
    try:
        _require_present(found[1] if found else "", "")
    except ValueError as error:
        return str(error)
    return None


def _require_present(path: str, given: str) -> None:
    for old, new in _MOVED.items():
        if path == old or path.startswith(f"{old}."):
            present = f"{new}{path.removeprefix(old)}"
            raise ValueError(f"{path}{given}: has moved; use {present}{given}")


def _leaves(node: object, path: str) -> Iterator[tuple[str, object]]:
    if not isinstance(node, Mapping) or not node:
        yield path, node
        return
    for name, inner in node.items():
        yield from _leaves(inner, f"{path}.{name}" if path else str(name))
