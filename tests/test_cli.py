"""What the command line sets up for Hydra and for processes that a launcher starts."""

import copy
import os
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from unlearn_lab.cli import main
from unlearn_lab.config.paths import data_dir, plugin_dir


@pytest.mark.usefixtures("composed")
def test_hydra_copies_what_the_store_hands_out_and_not_the_store():
    store = ConfigStore.instance()
    assert copy.deepcopy({"source": store})["source"] is store
    store.load("settings.yaml").node.tune = "changed"
    assert store.load("settings.yaml").node.tune is None


@pytest.mark.parametrize(
    ("given", "spin"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_processes_inherit_where_plugins_are_and_how_threads_wait(monkeypatch, given, spin):
    """Ray sends nothing; what the user says of waiting stays."""
    monkeypatch.setenv("PYTHONPATH", "mine")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, given.get(name, ""))
        if name not in given:
            monkeypatch.delenv(name)
    monkeypatch.setattr("sys.argv", ["unlearn_lab", "method=unknown"])
    monkeypatch.setattr("sys.path", list(sys.path))
    with pytest.raises(SystemExit):
        main()
    assert os.environ.get("GOMP_SPINCOUNT") == spin
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(plugin_dir()), "mine"]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.usefixtures("composed")
@pytest.mark.parametrize(("address", "own"), [("local", True), ("auto", False)])
def test_a_cluster_that_runs_already_keeps_what_is_its_own(monkeypatch, address, own):
    """Ray refuses these for a cluster that it has not started."""
    monkeypatch.setenv("PYTHONPATH", "mine")
    given = ["+cluster=ray", f"hydra.launcher.ray.init.address={address}", "runtime.threads=2"]
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        ray = compose("config", given, return_hydra_config=True).hydra.launcher.ray
    for name in ("_node_ip_address", "object_store_memory", "_system_config"):
        assert (ray.init[name] is not None) == own
    assert ray.remote.num_cpus == 2
    assert ray.init.runtime_env.env_vars.PYTHONPATH == "mine"
