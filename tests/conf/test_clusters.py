"""The presets of where a sweep runs: their choices, and what they say without their plugin."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode

from unlearn_lab.config.libraries import missing_plugin
from unlearn_lab.config.paths import data_dir

CLUSTERS = sorted(path.stem for path in (data_dir("sweeps") / "cluster").glob("*.yaml"))
LAUNCHERS = {"local": "joblib", "submitit": "submitit_local", "slurm": "submitit_slurm"}


def hydra_of(*overrides):
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


@pytest.mark.usefixtures("composed")
@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_is_never_chosen_in_vain(name):
    """Without -m Hydra would run the job here and leave the launcher alone, in silence."""
    assert hydra_of(f"+cluster={name}").hydra.mode == RunMode.MULTIRUN


@pytest.mark.usefixtures("composed")
def test_a_training_asks_slurm_for_more_than_an_evaluation():
    config = hydra_of("+cluster=slurm", "hydra.launcher.partition=gpu", "runtime.threads=4")
    launcher, kinds = config.hydra.launcher, config.hydra.sweeper.resources
    assert set(kinds) == {"training", "quantizing", "evaluating"}
    for kind in kinds.values():
        assert set(kind) <= set(launcher)
    assert kinds.training.timeout_min > launcher.timeout_min
    assert kinds.training.mem_gb > kinds.quantizing.mem_gb > launcher.mem_gb
    assert launcher.max_num_timeout > 0
    assert (launcher.partition, launcher.cpus_per_task) == ("gpu", 4)


@pytest.mark.usefixtures("composed")
@pytest.mark.parametrize(("threads", "jobs"), [(1, 8), (4, 2), (16, 1)])
def test_jobs_on_this_machine_follow_its_cores(monkeypatch, threads, jobs):
    monkeypatch.setattr("unlearn_lab.execute.cores.num_cores", lambda: 8)
    given = ("runtime.accelerator=cpu", f"runtime.threads={threads}")
    assert hydra_of("+cluster=local", *given).hydra.launcher.n_jobs == jobs
    assert hydra_of("+cluster=submitit", *given).hydra.sweeper.max_batch_size == jobs


@pytest.mark.usefixtures("composed", "files_read_anew")
@pytest.mark.parametrize("name", sorted(LAUNCHERS))
def test_a_missing_plugin_is_named_with_its_extra(monkeypatch, name):
    Plugins.instance()  # registers the launchers
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{LAUNCHERS[name]}.yaml")
    with pytest.raises(ConfigCompositionException) as caught:
        hydra_of(f"+cluster={name}")
    extra = "joblib" if name == "local" else "slurm"
    told = missing_plugin(str(caught.value))
    assert told.startswith(f"hydra/launcher={LAUNCHERS[name]}: needs the library hydra-")
    assert f"'.[{extra}]'" in told
    assert "\n" not in told


def test_other_messages_of_hydra_s_name_no_extra():
    assert missing_plugin("Could not find 'hydra/launcher/jublib'") is None
    assert missing_plugin("Could not find 'method/gaa'") is None
