"""Prepares Hydra: plugins, typed configuration, resolvers."""

import os
import sys
from collections.abc import Callable

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from unlearn_lab.config.composition import compose_faster
from unlearn_lab.config.conf_folder import option_exists, presets
from unlearn_lab.config.paths import plain_name, plugin_dir
from unlearn_lab.config.settings import Settings
from unlearn_lab.config.trusted import from_environment

NumJobs = Callable[[int | None, str], int]
"""Returns how many jobs run in parallel, given `runtime.threads` and `runtime.accelerator`."""


_SPIN_COUNT = "1000"
"""Measured (benchmarks/RESULTS.md): fewer slow a process alone, more one beside other programs."""


def prepare(num_jobs: NumJobs) -> None:
    """Sets up all that composing a configuration needs, also in processes that launchers start."""
    sys.path.append(str(plugin_dir()))
    _set_environment()
    prepare_configuration(num_jobs)


def prepare_configuration(num_jobs: NumJobs) -> None:
    """Registers the typed settings and the resolvers of the YAML files; changes nothing else."""
    ConfigStore.instance().store(name="settings", node=Settings)
    compose_faster()
    _register_resolvers(num_jobs)


def _set_environment() -> None:
    """Sets variables of this process, before it imports torch, and of the processes it launches.

    The plugins' path; no statistics from Ray to its makers; and how long OpenMP's threads spin
    before they sleep. By default they spin so long that two threads which share a core with another
    program wait for each other through whole time slices: the embedded model trained 3 to 5 times
    slower (benchmarks/RESULTS.md). The number of threads, and with it every figure, stays.
    Variables that are set already are kept.
    """
    places = [str(plugin_dir()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(place for place in places if place))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def _register_resolvers(num_jobs: NumJobs) -> None:
    """Registers the resolvers that the configuration files call."""
    OmegaConf.register_new_resolver("unlearn_lab.presets", _presets, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.option", _option, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.null", lambda: None, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.plain_name", plain_name, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.where", _where, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.jobs", num_jobs, replace=True)
    OmegaConf.register_new_resolver("unlearn_lab.trusted", from_environment, replace=True)


def _option(group: str, name: str, otherwise: str) -> str:
    """Returns the option `name` if its group has it, else the option `otherwise`."""
    return name if option_exists(group, name) else otherwise


def _where(given: object, wanted: object, value: object) -> object:
    """Returns the value if one setting equals the wanted one, else null."""
    return value if given == wanted else None


def _presets() -> str:
    return "\n".join(f"{group}: {', '.join(names)}" for group, names in presets().items())
