"""Reads and parses each file of the project's configuration once in all tests of a process."""

from typing import ClassVar

from unlearn_lab.config.composition import RememberingRepository
from unlearn_lab.config.paths import data_dir


class SharedRepository(RememberingRepository):
    """A repository whose files are shared if all of them are the project's."""

    shared: ClassVar = {}
    shared_compositions: ClassVar = {}

    def __init__(self, config_search_path) -> None:
        super().__init__(config_search_path)
        if all(str(one.path) in _PROJECTS for one in config_search_path.get_path()):
            self._known, self._composed = self.shared, self.shared_compositions


_PROJECTS = (
    "pkg://hydra.conf",
    "structured://",
    *(f"{kind}{data_dir(name)}" for kind in ("", "file://") for name in ("conf", "sweeps")),
)
