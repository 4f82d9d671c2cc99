"""Decides which folder of the user's own YAML files Hydra searches, before Hydra runs."""

import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from unlearn_lab.config.exits import RequestRefused
from unlearn_lab.config.paths import data_dir

VARIABLE = "UNLEARN_LAB_CONF"
"""Environment variable with the folder; processes that launchers start inherit it."""
_OF_ALL_JOBS = ("conf_dir", "trust")


def settle(arguments: Sequence[str]) -> None:
    """Sets $UNLEARN_LAB_CONF to the absolute path of `conf_dir=DIR`, or else of its own value.

    Hydra reads its search path before it composes settings, and processes that launchers start may
    run in another folder. Raises `RequestRefused` where `conf_dir` or `trust` is swept over.
    """
    given: object = os.environ.get(VARIABLE) or None
    for argument in arguments:
        name = argument.lstrip("+").partition("=")[0]
        if name not in _OF_ALL_JOBS or "=" not in argument:
            continue
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
        except HydraException:
            return  # Hydra reports it later
        if override.is_sweep_override():
            raise RequestRefused(f"{argument}: must be the same in all jobs of a sweep")
        if name == "conf_dir":
            given = override.value()
    os.environ.pop(VARIABLE, None)
    if isinstance(given, str) and given:
        os.environ[VARIABLE] = str(Path(given).absolute())


def conf_dir() -> Path | None:
    """Returns the user's folder; None if there is none."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else None


def require_settled(given: str | None) -> None:
    """Raises `ValueError` for `conf_dir` in a YAML file, read after Hydra's search path was set."""
    settled = conf_dir()
    if given and (settled is None or not _ends_with(settled, Path(given))):
        raise ValueError(
            f"conf_dir={given}: must be given on the command line, or as {VARIABLE}={given}"
        )


def _ends_with(whole: Path, given: Path) -> bool:
    """Whether `whole` is `given` made absolute, whatever the current working folder is."""
    return Path(*whole.parts[len(whole.parts) - len(given.parts) :]) == given


def option_exists(group: str, name: str) -> bool:
    """Whether a config group has this option, in conf/ or in the user's folder."""
    folders = [data_dir("conf"), *filter(None, [conf_dir()])]
    return any((folder / group / f"{name}.yaml").exists() for folder in folders)


def presets() -> dict[str, list[str]]:
    """Returns the names of presets by group: those of sweeps/, then the user's in these groups."""
    found = {}
    for group in ("cluster", "grid"):
        folders = [data_dir("sweeps"), *filter(None, [conf_dir()])]
        found[group] = [
            path.stem for folder in folders for path in sorted((folder / group).glob("*.yaml"))
        ]
    return found
