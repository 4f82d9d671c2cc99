"""Defines a stage: one computation as plain data, with a key that identifies its artifact."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One computation of the graph, identified by a hash of its fields.

    Raises `ValueError` when a parameter is not plain JSON data or not finite.

    Attributes:
        name: kind of stage ("corpus", "unlearn"); also its folder in the cache.
        builder: dotted path of the function that builds the artifact ("package.module:function").
        version: raised whenever the builder's output changes.
        params: every setting that the result depends on.
        depends: other dependencies, by kind: digests of code and of outside files, versions of
            libraries.
        inputs: input stages by role.

    Example:
        from unlearn_lab.graph.stage import Stage

        corpus = Stage(name="corpus", builder="lab.corpus:build", version=1, params={"seed": 0})
        train = Stage(
            name="train", builder="lab.train:build", version=1,
            params={"lr": 1e-5}, inputs={"corpus": corpus},
        )
        assert list(train.walk()) == [corpus, train]
    """

    name: str
    builder: str
    version: int
    params: Mapping[str, Any]
    depends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    inputs: Mapping[str, "Stage"] = field(default_factory=dict[str, "Stage"])

    def __post_init__(self) -> None:
        _require_plain(self.params, self.name)
        _require_plain(self.depends, self.name)

    @cached_property
    def key(self) -> str:
        """SHA-256 (64 hex digits) of the description, and thereby of the inputs' keys."""
        return key_of(self.description)

    @property
    def description(self) -> dict[str, object]:
        """The hashed content: all fields, with each input replaced by its key."""
        return {
            "name": self.name,
            "builder": self.builder,
            "version": self.version,
            "params": self.params,
            "depends": self.depends,
            "inputs": {role: stage.key for role, stage in self.inputs.items()},
        }

    def walk(self) -> Iterator["Stage"]:
        """Yields all upstream stages and this one, each once, inputs first."""
        yield from _walk(self, set())


def distinct(stages: Iterable[Stage]) -> dict[str, Stage]:
    """Returns the stages of several graphs by key, each once, inputs first."""
    seen = set[str]()
    return {stage.key: stage for goal in stages for stage in _walk(goal, seen)}


def key_of(description: Mapping[str, object]) -> str:
    """Returns the key of the stage with this description, as stored in a manifest."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _walk(stage: Stage, seen: set[str]) -> Iterator[Stage]:
    if stage.key in seen:
        return
    seen.add(stage.key)
    for role in sorted(stage.inputs):
        yield from _walk(stage.inputs[role], seen)
    yield stage


def _require_plain(value: object, path: str) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{path}: key {name!r} must be a string")  # noqa: TRY004 (user error)
            _require_plain(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _require_plain(inner, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}={value}: a stage parameter must be finite")
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(
            f"{path}={value!r}: a stage parameter must be plain JSON data, "
            f"not {type(value).__name__}"
        )
