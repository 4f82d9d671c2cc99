"""The command line: Hydra's, with this project's configuration, sweeper and exit statuses."""

import os
import sys

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unlearn_lab.exits import FAILED, REFUSED, Finished, RequestRefused
from unlearn_lab.paths import data_dir, plugin_dir
from unlearn_lab.settings import Settings


def main() -> None:
    """Runs the command line; exits with 0 (all leaves done), 1 (some failed) or 2 (refused)."""
    sys.path.append(str(plugin_dir()))
    ConfigStore.instance().store(name="settings", node=Settings)
    OmegaConf.register_new_resolver(
        "unlearn_lab.sweeps", lambda: f"file://{data_dir('sweeps')}", replace=True
    )
    OmegaConf.register_new_resolver("unlearn_lab.presets", _presets, replace=True)
    try:
        hydra.main(version_base="1.3", config_path=str(data_dir("conf")), config_name="config")(
            task
        )()
    except Finished:
        raise
    except SystemExit as stop:
        if stop.code == FAILED and not os.environ.get("HYDRA_FULL_ERROR"):
            sys.exit(REFUSED)
        raise


def task(config: DictConfig) -> object:
    """One job, in whichever process the launcher starts it; a single run also shows the table."""
    from unlearn_lab.build import Refused
    from unlearn_lab.job import request, run
    from unlearn_lab.report.ending import close

    hydra_config = HydraConfig.get()
    try:
        asked = request(config, dict(hydra_config.runtime.choices))
    except Refused as error:
        raise RequestRefused(str(error)) from error
    outcome = run(asked)
    if hydra_config.mode == RunMode.RUN:
        close([outcome], asked.runtime, asked.report)
    return outcome


def _presets() -> str:
    root = data_dir("sweeps")
    groups = sorted(folder for folder in root.iterdir() if folder.is_dir())
    return "\n".join(
        f"{group.name}: {', '.join(sorted(p.stem for p in group.glob('*.yaml')))}"
        for group in groups
    )
