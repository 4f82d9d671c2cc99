"""Describes cache items in words: methods and quantizers, sizes, ages."""

from collections.abc import Iterable, Mapping
from typing import Any

from unlearn_lab.graph.inventory import Item
from unlearn_lab.plan.describe import describe_quantizer

_KINDS = {
    "unfinished": "unfinished build",
    "claim": "claim on a build",
    "lease": "lease of a job",
    "trash": "half removed",
    "copy": "half-written memo of digests",
}
_UNITS = ("B", "kB", "MB", "GB", "TB")
_AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))

Described = Mapping[str, Any]


class Words:
    """Describes items; those that a record names, by the choices of that record."""

    def __init__(self, items: Iterable[Item], records: Iterable[Mapping[str, Any]]) -> None:
        self._described = {
            item.key: item.description for item in items if item.description is not None
        }
        self._asked = dict[str, str]()
        for record in records:
            self._asked[record["run_id"]] = _choices(
                record, ("model", "dataset", "method", "optimizer", "quant")
            )
            self._asked[str(record.get("stages.unlearn"))] = _choices(
                record, ("method", "optimizer")
            )

    def of(self, item: Item) -> str:
        """Describes an artifact, its damage, or the kind of a leftover; empty if unknown."""
        if item.kind != "artifact":
            return _KINDS[item.kind]
        return f"damaged: {item.damage}" if item.damage else self.of_key(item.key)

    def of_key(self, key: str) -> str:
        """Describes what the stage with this key computes."""
        found: Described | None = self._described.get(key)
        if key in self._asked or found is None:
            return self._asked.get(key, "")
        params = found["params"]
        inputs = found["inputs"]
        words = [self._of_model(inputs.get("model", inputs.get("unlearned"))), *_parts(params)]
        if "seed" in params:
            words.append(f"seed={params['seed']}")
        return " ".join(word for word in words if word).rstrip(",")

    def _of_model(self, key: str | None) -> str:
        if key is None or key not in self._described:
            return ""
        name = str(self._described[key]["name"])
        return f"{name} {self.of_key(key)}," if name == "unlearn" else f"{name},"


def format_bytes(number: int) -> str:
    """Formats bytes in powers of 1000, with one decimal from a kilobyte on."""
    size, unit = float(number), _UNITS[0]
    for unit in _UNITS:
        if size < 999.95 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{number} B" if unit == _UNITS[0] else f"{size:.1f} {unit}"


def format_age(seconds: float) -> str:
    """Formats whole days, hours or minutes, rounded down."""
    for length, unit in _AGES:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "0 min"


def _choices(record: Mapping[str, Any], groups: tuple[str, ...]) -> str:
    return " ".join([*(str(record.get(group)) for group in groups), f"seed={record.get('seed')}"])


def _parts(params: Described) -> list[str]:
    """Returns the class names in the parameters; a quantizer also with its bits."""
    words = list[str]()
    for name in ("dataset", "model", "forget", "optimizer", "quant"):
        node = params.get(name)
        if isinstance(node, Mapping) and "_target_" in node:
            words.append(_class(node) if name != "quant" else _quantizer(node))
    method = params.get("method")
    if isinstance(method, Mapping):
        terms = [node for node in method.values() if isinstance(node, Mapping)]
        words.insert(0, "+".join(_class(term) for term in terms if "_target_" in term))
    if isinstance(params.get("path"), str):
        words.append(params["path"])
    if isinstance(params.get("learn"), list):
        words.append(f"trained on {' and '.join(params['learn'])},")
    return words


def _quantizer(node: Described) -> str:
    return "full precision" if _class(node) == "NoQuantizer" else describe_quantizer(node)


def _class(node: Described) -> str:
    return str(node["_target_"]).rsplit(".", 1)[-1]
