"""Explains why a stage is built again, and checks that its planned code is still on disk."""

from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from unlearn_lab.graph import code
from unlearn_lab.graph import manifest as manifests
from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.stages import VERSIONS

Description = Mapping[str, Any]


def require_planned_code(stage: Stage) -> None:
    """Raises `ValueError` if this machine would build the stage with other code than its key names.

    This happens after an edit since the plan was made, or in another checkout.
    """
    if stage.name in VERSIONS and stage.version != VERSIONS[stage.name]:
        raise ValueError(
            f"{stage.name} was planned at version {stage.version}, and this checkout has "
            f"{VERSIONS[stage.name]}; use one checkout everywhere"
        )
    found = code.changed(stage.depends.get("code", {}))
    if found:
        raise ValueError(
            f"the code of {_spell_modules(found)} differs from the code in the plan: it was edited "
            "meanwhile, or this is another checkout; run the same command again"
        )


def reasons(stages: Iterable[Stage], cache: Path) -> list[str]:
    """Returns why stages are built again instead of reused: code, files, libraries, version.

    Each stage is compared with those in `cache` of the same name and settings; the one that differs
    in the fewest of these counts. A stage has no reason if there is no such counterpart, or if one
    differs in its inputs at most. Artifacts of `stages` themselves do not count: the check before
    the run may have just built some.
    """
    wanted = list(stages)
    keys = {stage.key for stage in wanted}
    built = dict[str, list[Description]]()
    for name in {stage.name for stage in wanted}:
        built[name] = list(_described(cache / name, besides=keys))
    found = dict[str, None]()
    for stage in wanted:
        like = [
            changes
            for other in built[stage.name]
            if other["params"] == stage.params
            and (changes := list(_changes(stage, other)))
            and other.get("inputs", {}).keys() == stage.inputs.keys()
        ]
        if like and not any(_same(stage, other) for other in built[stage.name]):
            found |= dict.fromkeys(min(like, key=len))
    return list(found)


def _described(folder: Path, besides: Set[str]) -> Iterator[Description]:
    for path in folder.glob(f"*/{manifests.FILE}"):
        if path.parent.name in besides:
            continue
        try:
            yield manifests.read_manifest(path.parent).stage
        except manifests.DamagedArtifact:
            continue


def _same(stage: Stage, other: Description) -> bool:
    """Whether at most the inputs differ, which are then the reason."""
    return other["params"] == stage.params and not list(_changes(stage, other))


def _changes(stage: Stage, other: Description) -> Iterator[str]:
    if other["version"] != stage.version:
        yield f"version of {stage.name} is {stage.version}, was {other['version']}"
    depends: Mapping[str, Any] = stage.depends
    previous: Mapping[str, Any] = other.get("depends", {})
    for name in _differing(depends.get("code", {}), previous.get("code", {})):
        yield f"code of {_spell_modules([name])} changed"
    for place in _differing(depends.get("files", {}), previous.get("files", {})):
        yield f"{place} changed"
    now, before = depends.get("libraries", {}), previous.get("libraries", {})
    for name in _differing(now, before):
        yield f"{name} is {now.get(name) or 'missing'}, was {before.get(name) or 'missing'}"


def _differing(now: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    return [name for name in {**now, **before} if now.get(name) != before.get(name)]


def _spell_modules(names: Iterable[str]) -> str:
    """Returns the names of the modules' files (npo.py): three, and how many more there are."""
    spelt = [f"{name.rpartition('.')[2]}.py" for name in names]
    more = f" and {len(spelt) - 3} more" if len(spelt) > 3 else ""
    return ", ".join(spelt[:3]) + more
