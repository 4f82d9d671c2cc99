"""Composes configurations faster: what Hydra and OmegaConf repeat for every job is done once."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, wraps
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, _utils, base

_PARSED = 4096
"""Number of texts with interpolations that are remembered; a sweep has some tens."""


def compose_faster() -> None:
    """Changes Hydra and OmegaConf in this process; what they compose stays the same.

    Composing a job takes a third less time (benchmarks/RESULTS.md).
    """
    _share_config_store()
    _parse_each_text_once()
    _map_choices_for_interpolations_only()
    _compose_each_choice_of_options_once()


def _share_config_store() -> None:
    """Keeps Hydra from copying every plugin's settings at each lookup of an option.

    Hydra then copies its sources (154 times for `--help`), and with them the store, which they only
    read; `ConfigStore.load` copies what it returns.
    """
    vars(ConfigStore.instance())["__deepcopy__"] = _shared


def _shared(memo: dict[int, object]) -> ConfigStore:
    return ConfigStore.instance()


def _parse_each_text_once() -> None:
    """Caches OmegaConf's parse trees, which are only read: it parses a text at each look at it."""
    modules: tuple[Any, ...] = (base, _utils)
    for module in modules:
        if not hasattr(module.parse, "__wrapped__"):
            module.parse = lru_cache(_PARSED)(module.parse)


def _map_choices_for_interpolations_only() -> None:
    """Skips the map of all chosen options for files whose defaults contain no interpolation.

    Hydra makes it for every file and reads it only to resolve interpolations.
    """

    def around(whole: Any) -> Any:
        def create(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig:
            if any(not one.is_self() and one.is_interpolation() for one in defaults):
                return whole(overrides, defaults, self_added)
            return OmegaConf.create()

        return create

    _wrap_once(defaults_list, "_create_interpolation_map", around)


def _compose_each_choice_of_options_once() -> None:
    """Merges the files of equal lists of defaults once per `RememberingRepository`.

    The jobs of a sweep differ in few options; Hydra applies their other overrides to the result.
    """

    def around(whole: Any) -> Any:
        def compose(self: Any, defaults: Sequence[ResultDefault], repo: Any) -> DictConfig:
            files = getattr(repo, "delegate", None)
            if not isinstance(files, RememberingRepository):
                return whole(self, defaults, repo)
            return files.composed(defaults, lambda: whole(self, defaults, _Copying(repo)))

        return compose

    _wrap_once(ConfigLoaderImpl, "_compose_config_from_defaults_list", around)


def _wrap_once(owner: Any, name: str, around: Callable[[Any], Any]) -> None:
    """Replaces a function of Hydra by `around` it, unless this was done in this process."""
    whole = getattr(owner, name)
    if not hasattr(whole, "__wrapped__"):
        setattr(owner, name, wraps(whole)(around(whole)))


class _Copying:
    """A repository that returns copies, which Hydra may merge into each other."""

    def __init__(self, repository: Any) -> None:
        self._repository = repository

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Returns a copy of what a file contains."""
        found = self._repository.load_config(config_path=config_path)
        return None if found is None else replace(found, config=copy.deepcopy(found.config))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)


class RememberingRepository(ConfigRepository):
    """A config repository that caches the files it has read, and what was composed of them.

    Hydra would read and parse some twenty YAML files again for every job that it composes.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._known = dict[tuple[Any, ...], ConfigResult | None]()
        self._composed = dict[tuple[Any, ...], DictConfig]()

    def __deepcopy__(self, memo: dict[int, Any]) -> "RememberingRepository":
        """Returns a copy whose search path may change; what is cached stays shared."""
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Returns what a file contains: its header copied, the rest shared."""
        key = (*self._places(), config_path)
        if key not in self._known:
            self._known[key] = super().load_config(config_path)
        found = self._known[key]
        if found is None:
            return None
        return replace(found, header=dict(found.header))

    def composed(
        self, defaults: Sequence[ResultDefault], compose: Callable[[], DictConfig]
    ) -> DictConfig:
        """Returns a copy of what `compose` makes of a list of defaults, which it does once."""
        key = (*self._places(), *map(repr, defaults))
        if key not in self._composed:
            self._composed[key] = compose()
        return copy.deepcopy(self._composed[key])

    def _places(self) -> Iterator[tuple[str, str]]:
        return ((source.provider, source.path) for source in self.sources)
