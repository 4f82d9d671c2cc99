"""Overrides below a swept option: left to the jobs of a sweep, since only they compose that option.

Hydra composes the configuration of a sweep with the default option of every swept group and applies
all plain overrides to it: `-m quant=gptq4,awq4 quant.dampening=0.05` fails on the default `rtn4`.
It skips swept overrides. A plain override below a swept group is therefore rewritten as a sweep
over one element, `quant.dampening=choice(0.05)`; the jobs have the plain value again.
"""

import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from unlearn_lab.config.conf_folder import conf_dir, presets
from unlearn_lab.config.paths import data_dir

NULL = "${unlearn_lab.null:}"
"""Stands for null in a one-element sweep: Hydra's `choice` takes none."""
_NULL_ELEMENT = r"$\{unlearn_lab.null\:\}"
"""How Hydra prints it among the overrides of a job."""
_OF_THE_SWEEP = ("runtime", "report", "tune")
"""Groups that the sweep itself reads from the configuration that Hydra composes for it."""


def deferred(arguments: Sequence[str]) -> list[str]:
    """Returns the command line with every override below a swept option as a one-element sweep.

    Groups whose default follows a swept one (`trainer` follows `model`) count as swept too, unless
    the command line chooses their option.
    """
    given = [(argument, parsed(argument)) for argument in arguments]
    overrides = [one for _, one in given if one is not None]
    if not _sweeps(arguments, overrides):
        return list(arguments)
    swept = _swept_groups([*_overrides(_of_presets(overrides)).values(), *overrides])
    chosen = {one.key_or_group for one in overrides}
    return [
        _as_sweep(argument, override)
        if override is not None and _is_plain(override) and _above(override, swept, chosen)
        else argument
        for argument, override in given
    ]


def without_null_options(arguments: Sequence[str]) -> list[str]:
    """Returns the command line with `GROUP=null` as `~GROUP`, as Hydra wants it."""
    return [
        f"~{one.key_or_group}"
        if (one := parsed(argument)) is not None
        and not one.is_sweep_override()
        and one.value() is None
        and _is_group(one.key_or_group)
        else argument
        for argument in arguments
    ]


def _swept_groups(overrides: Sequence[Override]) -> dict[str, Override]:
    """Returns the overrides that sweep over the options of a group, by group."""
    return {
        one.key_or_group: one
        for one in overrides
        if one.is_sweep_override()
        and one.key_or_group.partition("/")[0] not in _OF_THE_SWEEP
        and _is_group(one.key_or_group)
    }


def plain_job_override(override: str) -> str:
    """Returns the override of a job with null for its stand-in."""
    return override.replace(_NULL_ELEMENT, "null")


def require_shared(
    arguments: Sequence[str],
    params: Mapping[str, Any],
    compose: Callable[[list[str]], object],
) -> None:
    """Refuses a setting that only some options of the swept group above it have.

    Args:
        arguments: the overrides of the command line, as `deferred` returns them.
        params: `hydra.sweeper.params`, what presets sweep over.
        compose: composes a job from plain overrides; raises `HydraException`.

    Raises:
        ValueError: names the options with and without the setting, and two commands that work.
    """
    command = {text: one for text in arguments if (one := parsed(text)) is not None}
    given = _overrides(params) | command
    swept = _swept_groups(list(given.values()))
    single = {one.key_or_group: _first(text, one) for text, one in given.items()}
    for group in {group: None for one in given.values() for group in _above(one, swept, single)}:
        lacking: dict[str, list[str]] = {}
        for option in _elements(swept[group]):
            job = {**single, group: f"{group}={option}"}
            try:
                compose(list(job.values()))
            except HydraException as error:
                found = re.search(r"Could not override '([\w./@]+)'", str(error))
                if found is None:
                    return  # the jobs are refused with Hydra's own message
                lacking.setdefault(found[1], []).append(option)
        for setting, options in lacking.items():
            having = [one for one in _elements(swept[group]) if one not in options]
            if having and setting in {one.key_or_group for one in command.values()}:
                raise ValueError(_apart(setting, group, having, options, command))


def _above(override: Override, groups: Collection[str], chosen: Collection[str]) -> list[str]:
    """The groups that a setting is below, or that its group's default follows unless chosen."""
    setting = _dotted(override.key_or_group)
    top, dot, _ = setting.partition(".")
    followed = _leaders().get(top, set[str]()) if dot and top not in chosen else ()
    return [one for one in groups if setting.startswith(f"{_dotted(one)}.") or one in followed]


def _apart(
    setting: str,
    group: str,
    having: Sequence[str],
    lacking: Sequence[str],
    command: Mapping[str, Override],
) -> str:
    """The refusal of a setting that some options lack, with the two commands that work."""
    names = {one.key_or_group: _plain(text, one) for text, one in command.items()}
    rest = [text for name, text in names.items() if name not in (setting, group)]
    first = [f"{group}={','.join(having)}", names[setting], *rest]
    second = [f"{group}={','.join(lacking)}", *rest]
    commands = [shlex.join(["python", "-m", "unlearn_lab", "-m", *one]) for one in (first, second)]
    return (
        f"{names[setting]}: {group}={','.join(having)} has this setting, "
        f"{group}={','.join(lacking)} does not; use two commands: {commands[0]}, and {commands[1]}"
    )


def _first(argument: str, override: Override) -> str:
    """The override with the first of its values."""
    return f"{argument.partition('=')[0]}={_elements(override)[0]}"


def _plain(argument: str, override: Override) -> str:
    """An override as the user gave it: a one-element sweep as a plain one."""
    alone = override.is_discrete_sweep() and len(_elements(override)) == 1
    return _first(argument, override) if alone else argument


def _elements(override: Override) -> list[str]:
    """The values of an override as Hydra prints them; the start of an interval, as a sample."""
    if override.is_interval_sweep():
        values = [str(override.value().start)]  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    elif override.is_sweep_override():
        values = list(map(str, override.sweep_string_iterator()))
    else:
        values = [override.get_value_element_as_str()]
    return [plain_job_override(value) for value in values]


def _sweeps(arguments: Sequence[str], overrides: Sequence[Override]) -> bool:
    """Whether the command line may be a sweep: a preset can make it one."""
    named = {one.key_or_group for one in overrides}
    return bool({"-m", "--multirun"}.intersection(arguments) or named & {"hydra.mode", *presets()})


@cache
def _leaders() -> dict[str, set[str]]:
    """Returns the groups that the default of another group is computed from, by that group."""
    listed: Any = OmegaConf.to_container(OmegaConf.load(data_dir("conf") / "config.yaml"))
    entries = [entry for entry in listed["defaults"] if isinstance(entry, dict)]
    computed = {str(name): str(value) for entry in entries for name, value in entry.items()}
    leaders = {
        name: set(re.findall(r"[{,](\w+)[},]", value))
        for name, value in computed.items()
        if re.fullmatch(r"\w+", name) and "${" in value
    }
    return {
        name: found | {far for near in found for far in leaders.get(near, ())}
        for name, found in leaders.items()
    }


def _is_plain(override: Override) -> bool:
    """Whether it is `setting=value`, without a sweep, `+`, `++` or `~`."""
    special = (override.is_sweep_override(), override.is_add(), override.is_force_add())
    return not any(special) and not override.is_delete()


def _as_sweep(argument: str, override: Override) -> str:
    """The override as a sweep over its one value; unchanged where Hydra has no such form."""
    name, _, value = argument.partition("=")
    if override.value() is None:
        value = f"'{NULL}'"
    elif not value.strip():
        value = "''"
    sweep = parsed(f"{name}=choice({value})")
    if sweep is None or len(list(sweep.sweep_iterator())) != 1:
        return argument
    return f"{name}=choice({value})"


@cache
def parsed(argument: str) -> Override | None:
    """Returns the override that an argument is; None for a flag, and for a malformed one."""
    if argument.startswith("-") or "=" not in argument:
        return None
    try:
        (override,) = OverridesParser.create().parse_overrides([argument])
    except HydraException:
        return None  # Hydra refuses it with a message of its own
    return override


def _overrides(params: Mapping[str, Any]) -> dict[str, Override]:
    texts = [f"{name}={value}" for name, value in params.items()]
    return {text: one for text in texts if (one := parsed(text)) is not None}


def _of_presets(overrides: Sequence[Override]) -> dict[str, Any]:
    """What the presets of the command line sweep over: their `hydra.sweeper.params`."""
    groups, params = presets(), dict[str, Any]()
    for override in overrides:
        if override.key_or_group in groups and isinstance(override.value(), str):
            params |= _params(override.key_or_group, str(override.value()))
    return params


def _params(group: str, name: str) -> dict[str, Any]:
    """The swept parameters of one preset, over those of the presets that it builds on."""
    folders = [data_dir("sweeps"), *filter(None, [conf_dir()])]
    files = [Path(folder) / group / f"{name}.yaml" for folder in folders]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        return {}
    preset: Any = OmegaConf.to_container(OmegaConf.load(found)) or {}
    params = dict[str, Any]()
    for entry in preset.get("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            params |= _params(group, entry)
    node = preset.get("hydra", {}).get("sweeper", {}).get("params", {})
    return params | {name: value for name, value in node.items() if isinstance(value, str)}


def _is_group(name: str) -> bool:
    folders = [data_dir("conf"), *filter(None, [conf_dir()])]
    return any((folder / name).is_dir() for folder in folders)


def _dotted(name: str) -> str:
    return name.partition("@")[0].replace("/", ".")
