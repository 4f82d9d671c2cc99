"""The command line: Hydra's, with this project's configuration, sweeper and exit statuses."""

import logging
import os
import sys

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearn_lab.cores import num_jobs
from unlearn_lab.exits import REFUSED, RequestRefused
from unlearn_lab.libraries import missing_plugin
from unlearn_lab.nearest import suggestion
from unlearn_lab.paths import data_dir, plugin_dir
from unlearn_lab.settings import Settings

_FULL = "HYDRA_FULL_ERROR"


def main() -> None:
    """Runs the command line; exits with 0 (all leaves done), 1 (some failed) or 2 (refused)."""
    sys.path.append(str(plugin_dir()))
    paths = [os.environ.get("PYTHONPATH", ""), str(plugin_dir())]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    ConfigStore.instance().store(name="settings", node=Settings)
    register_resolvers()
    in_full = bool(os.environ.get(_FULL))
    os.environ[_FULL] = "1"  # Hydra then hands its errors to us instead of printing its own frames
    try:
        hydra.main(version_base="1.3", config_path=str(data_dir("conf")), config_name="config")(
            task
        )()
    except (HydraException, OmegaConfBaseException) as error:
        if in_full:
            raise
        told = missing_plugin(str(error)) or f"{_message(error)}{suggestion(str(error))}"
        sys.stderr.write(f"{told}\n")
        sys.exit(REFUSED)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        if in_full:
            raise
        sys.stderr.write(f"runtime.home=: cannot be written to ({error}); name another folder\n")
        sys.exit(REFUSED)
    finally:
        if not in_full:
            os.environ.pop(_FULL, None)


def register_resolvers() -> None:
    """Makes what the configuration files call: where presets lie, and options by name."""
    sweeps = data_dir("sweeps")
    OmegaConf.register_new_resolver("unlearn_lab.sweeps", lambda: f"file://{sweeps}", replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.presets", _presets, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.option", _option, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.jobs", num_jobs, replace=True)


def task(config: DictConfig) -> object:
    """One job, in whichever process the launcher starts it; a single run also shows the table.

    Raises `RequestRefused` for a request that cannot be carried out; every other failure is in the
    outcome that it returns, so that the other jobs of a sweep go on.
    """
    from unlearn_lab.build import Refused
    from unlearn_lab.job import request, run
    from unlearn_lab.report.ending import close

    hydra_config = HydraConfig.get()
    if hydra_config.verbose is True:
        logging.getLogger("unlearn_lab").setLevel(logging.DEBUG)
    try:
        asked = request(config, dict(hydra_config.runtime.choices))
    except Refused as error:
        raise RequestRefused(str(error)) from error
    outcome = run(asked)
    if hydra_config.mode == RunMode.RUN:
        close([outcome], asked.runtime, asked.report)
    return outcome


def _message(error: Exception) -> str:
    """Hydra's message and its cause, without the lines that are about its own types."""
    texts = [str(error), *([str(error.__cause__)] if error.__cause__ is not None else [])]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    told = dict.fromkeys(line.rstrip() for line in lines)
    return "\n".join(line for line in told if not line.lstrip().startswith(_NOISE))


_NOISE = ("full_key:", "object_type=", "reference_type=")


def _option(group: str, name: str, otherwise: str) -> str:
    """The option `name` of a group where it has one, else the option `otherwise`."""
    return name if (data_dir("conf") / group / f"{name}.yaml").exists() else otherwise


def _presets() -> str:
    root = data_dir("sweeps")
    return "\n".join(
        f"{group.name}: {', '.join(sorted(path.stem for path in group.glob('*.yaml')))}"
        for group in sorted(folder for folder in root.iterdir() if folder.is_dir())
    )
