"""Hydra's configuration files, each read once for all jobs of a sweep."""

import copy
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult


class RememberingRepository(ConfigRepository):
    """A repository that keeps what it has read.

    Hydra reads and parses some twenty YAML files anew for every job that it composes.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._known = dict[tuple[Any, ...], ConfigResult | None]()

    def __deepcopy__(self, memo: dict[int, Any]) -> "RememberingRepository":
        """A repository that may change its search path; what was read stays shared."""
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """The file's content, as a copy: Hydra changes what it is given."""
        key = (*((source.provider, source.path) for source in self.sources), config_path)
        if key not in self._known:
            self._known[key] = super().load_config(config_path)
        return copy.deepcopy(self._known[key])
