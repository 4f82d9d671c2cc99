"""Makes a built part fit for a key: hub names at commits, files by digest, code, library versions.

A stage's `depends` holds all of that but the settings themselves:

- `code`: the digest of each module that its parts, and its builder through them, depend on;
- `files`: the digest of each file or folder outside, by the setting that names it;
- `libraries`: the version of each library that a part declares, null where it is missing.
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

_SPOKEN = {"quant.calibration.text": "generic_text"}
"""Where a node is composed from another place: the place that a user sets."""


@runtime_checkable
class Parts(Protocol):
    """The built parts of one job, each once."""

    @property
    def dataset(self) -> Part[Any]:
        """What is read."""
        ...

    @property
    def model(self) -> Part[Any]:
        """Where training starts from, or the finished models."""
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
        """How unlearning is trained."""
        ...

    @property
    def finetune(self) -> Part[Any]:
        """How target and control are trained."""
        ...

    @property
    def quant(self) -> Part[Any]:
        """The quantizer."""
        ...

    @property
    def no_quantizer(self) -> Part[Any]:
        """What full-precision scores are taken with."""
        ...

    @property
    def metrics(self) -> Mapping[str, Part[Any]]:
        """What is measured, by name."""
        ...

    @property
    def export(self) -> bool | str:
        """Whether the quantized model is exported, or in which format."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A part whose `node` names everything outside by content or commit.

    `files` are digests or commits by setting, `libraries` the declared distributions, `modules`
    those of its class and of the classes inside it; `inner` holds the parts inside it, by field.
    """

    value: Any
    path: str
    node: Mapping[str, Any]
    files: Mapping[str, str]
    libraries: tuple[str, ...]
    modules: tuple[str, ...]
    inner: Mapping[str, "Pinned"]

    def replaced(self, **settings: object) -> "Pinned":
        """The same with other values of some of its settings, which name nothing outside."""
        return replace(self, node={**self.node, **settings})

    def reading(self, *settings: str) -> "Pinned":
        """The same, of which only what these settings name outside counts."""
        files = {f"{self.path}.{setting}" for setting in settings}
        return replace(self, files={at: one for at, one in self.files.items() if at in files})


def pin(part: Part[Any], content: ContentKey) -> Pinned:
    """The part with all that it reads from outside pinned.

    Raises `ValueError`, which begins with the setting, for what cannot be found, and for code of a
    user's own that cannot be followed or imports a library without declaring it.
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
        path=_SPOKEN.get(part.path, part.path),
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
    """A stage of its present version; `builder` is "package.module:function".

    `parts` are those whose nodes `params` holds; `libraries` count beside theirs.
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
    """The modules that a builder's module reaches without any part.

    Their changes are said by hand, in `stages.VERSIONS`; those of all other code by digest.
    """
    return frozenset(code.closure(builder, stop=named_parts()))


@cache
def _code(builder: str, modules: frozenset[str]) -> Mapping[str, str]:
    """The digests of what parts depend on, outside the engine.

    Parts that the builder's own modules name count as well, whether they were chosen or not.
    """
    own, roots = engine(builder), _roots(modules)
    reached = code.closure(builder)
    for module in modules:
        reached |= code.closure(module, roots)
    return code.digests({name: one for name, one in reached.items() if name not in own})


def _roots(modules: Collection[str]) -> tuple[str, ...]:
    """The packages whose modules are followed: unlearn_lab, and those that the user trusts."""
    named = (name.partition(".")[0] for name in modules)
    return tuple(sorted({code.PROJECT, *trusted(), *named}))


@cache
def _require_declared(module: str, libraries: tuple[str, ...]) -> None:
    """Refuses code of a user's own that imports a library whose version would not be in the key."""
    if module.partition(".")[0] == code.PROJECT:  # these are held to it by a test
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
    """Puts what was found into the node, and its digest among the files."""
    if one.setting is None:
        files[f"{path}: {Path(one.place).name}"] = content.of_path(Path(one.place), one.patterns)
        return
    setting = f"{_SPOKEN.get(path, path)}.{one.setting}"
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
    node[one.setting] = found.path
    if one.revision is not None:
        node[one.revision] = found.revision
    files[setting] = found.digest or str(found.revision)


def _once(own: tuple[str, ...], inner: Iterator[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*own, *(name for names in inner for name in names)]))
