"""Adds to Hydra's search path besides conf/: presets in sweeps/, and the user's own folder."""

import copy
from pathlib import Path

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class LabSearchPath(SearchPathPlugin):
    """Appends both folders, so that `hydra.searchpath` on the command line removes neither."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Raises `RequestRefused` for a missing folder, and for options whose names are taken."""
        from unlearn_lab.config.conf_folder import conf_dir
        from unlearn_lab.config.paths import data_dir

        search_path.append("unlearn_lab", f"file://{data_dir('sweeps')}")
        folder = conf_dir()
        if folder is not None:
            _require_new(folder, search_path)
            search_path.append("conf_dir", f"file://{folder}")


def _require_new(folder: Path, search_path: ConfigSearchPath) -> None:
    from unlearn_lab.config.exits import RequestRefused

    if not folder.is_dir():
        raise RequestRefused(f"conf_dir={folder}: there is no such folder")
    present = copy.deepcopy(search_path)
    present.append("schema", "structured://")
    sources = ConfigRepository(present).get_sources()
    for file in sorted(folder.rglob("*.yaml")):
        option = file.relative_to(folder).as_posix()
        for source in sources:
            if source.is_config(option):
                raise RequestRefused(
                    f"{file}: there is {source.full_path()}/{option} already; choose another name"
                )
