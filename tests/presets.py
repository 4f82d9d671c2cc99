"""The presets' jobs, each composed once in a process: for tests/conf and tests/published."""

from functools import cache
from itertools import product

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unlearn_lab.config.hydra_setup import prepare_configuration
from unlearn_lab.config.paths import data_dir
from unlearn_lab.execute.cores import num_jobs


@cache
def composed_preset(stem, *overrides):
    """The whole configuration of a preset, Hydra's part included."""
    prepare_configuration(num_jobs)
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        return compose("config", [f"+grid={stem}", *overrides], return_hydra_config=True)


@cache
def composed_job(stem, *overrides):
    """The plain values of a preset's job, and the option chosen of each group."""
    ours, choices = without_hydra(composed_preset(stem, *overrides))
    return OmegaConf.to_container(ours, resolve=True), choices


def without_hydra(config):
    """A job's own part of a whole configuration, and the option chosen of each group."""
    ours = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return ours, dict(config.hydra.runtime.choices)


def params_of(stem):
    """What a preset sweeps over."""
    params = composed_preset(stem).hydra.sweeper.params
    return {name: str(values).split(",") for name, values in params.items()}


def combinations(stem):
    """The overrides of each job."""
    params = params_of(stem)
    return [dict(zip(params, values, strict=True)) for values in product(*params.values())]


def typical(stem):
    """As few jobs as have every value of every setting: each takes the next of each."""
    params = params_of(stem)
    return [
        {name: values[turn % len(values)] for name, values in params.items()}
        for turn in range(max(map(len, params.values())))
    ]


def overrides_of(job):
    """A job as on the command line."""
    return [f"{name}={value}" for name, value in job.items()]
