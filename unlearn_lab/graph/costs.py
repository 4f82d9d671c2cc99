"""Estimates the build time of a stage from the manifests of similar stages built before."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_lab.graph import manifest as manifests
from unlearn_lab.graph.stage import Stage

_SOURCES = ("corpus", "base")
_LENGTHS = ("epochs", "steps")
_NOT_GIVEN = "null"
Description = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Built:
    description: Description
    leaves: frozenset[tuple[str, str]]
    seconds: float


class Costs:
    """Build times in seconds, from the manifests in `cache`; unreadable manifests are ignored.

    Similar stages have the same name and builder, and start from the same models and texts, seeds
    aside. Of these, the ones that share most parameters count, and trainings are scaled by their
    epochs or steps.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._built = dict(_read(cache))
        self._alike = defaultdict[tuple[str, str], list[_Built]](list)
        for built in self._built.values():
            of = built.description
            self._alike[of["name"], of["builder"]].append(built)
        self._origins = dict[str, frozenset[str]]()

    def seconds(self, stage: Stage) -> float | None:
        """Returns the median of the most similar stages; None if none was built in this cache."""
        origin, wanted = _origin(stage), set(_leaves(stage.params))
        like = [
            (len(wanted & built.leaves), built)
            for built in self._alike[stage.name, stage.builder]
            if self._origin_of(built.description) == origin
        ]
        if not like:
            return None
        most = max(shared for shared, _ in like)
        return statistics.median(
            built.seconds * _ratio(stage.params, built.description["params"])
            for shared, built in like
            if shared == most
        )

    def _origin_of(self, description: Description) -> frozenset[str]:
        """Returns the sources of a built stage, as far as their manifests still exist."""
        text = json.dumps(description, sort_keys=True)
        if text not in self._origins:
            below = [
                self._origin_of(self._built[key].description)
                for key in description["inputs"].values()
                if key in self._built
            ]
            own = [_source(description)] if _is_source(description) else []
            self._origins[text] = frozenset(own).union(*below)
        return self._origins[text]


def _read(cache: Path) -> Iterator[tuple[str, _Built]]:
    for path in cache.glob(f"*/*/{manifests.FILE}"):
        try:
            found = manifests.read_manifest(path.parent)
        except manifests.DamagedArtifact:
            continue
        leaves = frozenset(_leaves(found.stage["params"]))
        yield (
            path.parent.name,
            _Built(description=found.stage, leaves=leaves, seconds=found.seconds),
        )


def _origin(stage: Stage) -> frozenset[str]:
    return frozenset(
        _source(below.description) for below in stage.walk() if _is_source(below.description)
    )


def _is_source(description: Description) -> bool:
    return description["name"] in _SOURCES or not description["inputs"]


def _source(description: Description) -> str:
    return json.dumps([description["name"], _without_seeds(description["params"])], sort_keys=True)


def _without_seeds(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_seeds(inner) for name, inner in value.items() if name != "seed"}
    return value


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}")
    else:
        yield path, json.dumps(value)


def _ratio(wanted: object, had: object) -> float:
    """Returns the length of the planned training relative to the timed one (1.0 if unknown)."""
    lengths = [
        {
            path: float(number)
            for path, number in _leaves(params)
            if path.endswith(_LENGTHS) and number != _NOT_GIVEN
        }
        for params in (wanted, had)
    ]
    both = [path for path in lengths[0] if lengths[1].get(path)]
    return lengths[0][both[0]] / lengths[1][both[0]] if both else 1.0
