"""Pins parts for keys: hub names by commit, files and code by digest, libraries by version.

A stage's `depends` contains all of these except the settings themselves:

- `code`: the digest of each module that its parts, and its builder through them, depend on;
- `files`: the digest of each outside file or folder, by the setting that names it;
- `libraries`: the version of each library that a part declares; null if it is missing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unlearn_lab.config.build import Part
from unlearn_lab.config.libraries import version_of
from unlearn_lab.config.paths import named_parts
from unlearn_lab.config.trusted import trusted
from unlearn_lab.graph import code
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.distributions import required_by
from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.protocols import Outside, ReadsOutside, UsesLibraries
from unlearn_lab.plan.stages import VERSIONS, Config

_SETTING_OF = {"quant.calibration.text": "generic_text"}
"""Nodes that are interpolated from another node: the one that a user sets."""


@runtime_checkable
class Parts(Protocol):
    """The built parts of one job."""

    @property
    def dataset(self) -> Part[Any]:
        """The corpus to read."""
        ...

    @property
    def model(self) -> Part[Any]:
        """The model where training starts, or finished models."""
        ...

    @property
    def method(self) -> Part[Any]:
        """The objective."""
        ...

    @property
    def optimizer(self) -> Part[Any]:
        """The update rule."""
        ...

    @property
    def trainer(self) -> Part[Any]:
        """The settings of unlearning."""
        ...

    @property
    def finetune(self) -> Part[Any]:
        """The settings that train target and control."""
        ...

    @property
    def quant(self) -> Part[Any]:
        """The quantizer."""
        ...

    @property
    def no_quantizer(self) -> Part[Any]:
        """The quantizer of full-precision scores, which changes nothing."""
        ...

    @property
    def metrics(self) -> Mapping[str, Part[Any]]:
        """The metrics by name."""
        ...

    @property
    def export(self) -> bool | str:
        """Whether to export the quantized model, or the format to export."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A part whose `node` names everything outside by content or commit.

    Attributes:
        value: the part.
        path: config path of its node, as the user sets it.
        node: the pinned node.
        files: digests or commits by setting.
        libraries: distributions that it and its inner parts declare.
        modules: modules of its class and of the classes inside it.
        inner: the parts inside it, by field.
    """

    value: Any
    path: str
    node: Mapping[str, Any]
    files: Mapping[str, str]
    libraries: tuple[str, ...]
    modules: tuple[str, ...]
    inner: Mapping[str, "Pinned"]

    def replaced(self, **settings: object) -> "Pinned":
        """Returns a copy with other values of settings that name nothing outside."""
        return replace(self, node={**self.node, **settings})

    def reading(self, *settings: str) -> "Pinned":
        """Returns a copy in which only the outside files of these settings count."""
        files = {f"{self.path}.{setting}" for setting in settings}
        return replace(self, files={at: one for at, one in self.files.items() if at in files})


def pin(part: Part[Any], content: ContentKey) -> Pinned:
    """Returns the part with everything pinned that it reads from outside.

    Raises `ValueError`, which begins with the setting, for anything that is not found, and for user
    code that cannot be followed or that imports a library without declaring it.
    """
    inner = {name: pin(one, content) for name, one in part.inner.items()}
    node: dict[str, Any] = {**part.node, **{name: one.node for name, one in inner.items()}}
    files = {name: digest for one in inner.values() for name, digest in one.files.items()}
    for one in part.value.outside if isinstance(part.value, ReadsOutside) else ():
        _pin_outside(one, part.path, node, files, content)
    own = tuple(part.value.libraries) if isinstance(part.value, UsesLibraries) else ()
    followed = () if part.module.partition(".")[0] == "torch" else (part.module,)
    for module in followed:
        _require_declared(module, own)
    return Pinned(
        value=part.value,
        path=_SETTING_OF.get(part.path, part.path),
        node=node,
        files=files,
        libraries=_once(own, (one.libraries for one in inner.values())),
        modules=_once(followed, (one.modules for one in inner.values())),
        inner=inner,
    )


def stage(
    name: str,
    builder: str,
    params: Config,
    inputs: Mapping[str, Stage] | None = None,
    *,
    parts: Sequence[Pinned] = (),
    libraries: Sequence[str] = (),
) -> Stage:
    """Creates a stage at its present version.

    Args:
        name: kind of stage, a key of `stages.VERSIONS`.
        builder: function that builds the artifact, "package.module:function".
        params: settings that the result depends on.
        inputs: input stages by role.
        parts: the parts whose nodes `params` contains.
        libraries: distributions that count in addition to those of the parts.
    """
    modules = frozenset(module for part in parts for module in part.modules)
    names = _once(tuple(libraries), (part.libraries for part in parts))
    depends = {
        "code": dict(_code(builder.partition(":")[0], modules)),
        "files": {place: digest for part in parts for place, digest in part.files.items()},
        "libraries": {library: version_of(library) for library in sorted(names)},
    }
    return Stage(
        name=name,
        builder=builder,
        version=VERSIONS[name],
        params=params,
        depends={kind: pins for kind, pins in depends.items() if pins},
        inputs=inputs or {},
    )


@cache
def engine(builder: str) -> frozenset[str]:
    """Returns the modules that a builder's module reaches without any part.

    Their changes are recorded by hand in `stages.VERSIONS`, those of all other code by digest.
    """
    return frozenset(code.closure(builder, stop=named_parts()))


@cache
def _code(builder: str, modules: frozenset[str]) -> Mapping[str, str]:
    """Returns the digests of the modules that parts depend on, the engine's excepted.

    Parts that the builder's own modules name count as well, chosen or not.
    """
    own, roots = engine(builder), _roots(modules)
    reached = code.closure(builder)
    for module in modules:
        reached |= code.closure(module, roots)
    return code.digests({name: one for name, one in reached.items() if name not in own})


def _roots(modules: Collection[str]) -> tuple[str, ...]:
    """Returns the packages whose modules are followed: unlearn_lab and those the user trusts."""
    named = (name.partition(".")[0] for name in modules)
    return tuple(sorted({code.PROJECT, *trusted(), *named}))


@cache
def _require_declared(module: str, libraries: tuple[str, ...]) -> None:
    """Raises `ValueError` for user code that imports a library whose version is not in the key."""
    if module.partition(".")[0] == code.PROJECT:  # a test checks these
        return
    roots = _roots([module])
    reached = code.closure(module, roots)
    own = [one for name, one in reached.items() if name.partition(".")[0] != code.PROJECT]
    code.require_followed(own)
    known = required_by(libraries)
    for distribution, importer in code.distributions(own, roots).items():
        if distribution not in known:
            raise ValueError(
                f"{importer.path}: imports the library {distribution}, whose version is not part "
                f'of the key; declare it in the part\'s class: libraries = ("{distribution}",)'
            )


def _pin_outside(
    one: Outside,
    path: str,
    node: dict[str, Any],
    files: dict[str, str],
    content: ContentKey,
) -> None:
    """Puts what is found into the node, and its digest into `files`."""
    if one.setting is None:
        files[f"{path}: {Path(one.place).name}"] = content.of_path(Path(one.place), one.patterns)
        return
    setting = f"{_SETTING_OF.get(path, path)}.{one.setting}"
    place = str(one.place)
    if one.kind == "files":
        if not Path(place).exists():
            raise ValueError(f"{setting}={place}: no such file or folder")
        node[one.setting] = str(Path(place).resolve())
        files[setting] = content.of_path(Path(place), one.patterns)
        return
    revision = None if one.revision is None else node[one.revision]
    if one.kind == "model":
        found = content.of_model(place, revision, setting)
    else:
        found = content.of_dataset(place, revision, setting, one.patterns)
    if one.sha256 is not None:
        if not Path(found.path).is_file():
            raise ValueError(f"{setting}={place}: is not a file, and sha256 is a file's digest")
        if (digest := content.of_file(Path(found.path))) != one.sha256:
            raise ValueError(f"{setting}={place}: its SHA-256 is {digest}, not {one.sha256}")
    node[one.setting] = found.path
    if one.revision is not None:
        node[one.revision] = found.revision
    files[setting] = found.digest or str(found.revision)


def _once(own: tuple[str, ...], inner: Iterator[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*own, *(name for names in inner for name in names)]))
