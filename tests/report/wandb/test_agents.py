"""The sweeps for W&B's own agents: what the agent would run, and what it would read back."""

import pytest
import yaml

from unlearn_lab.config.conf_folder import presets
from unlearn_lab.config.paths import data_dir
from unlearn_lab.report.wandb.payload import summary_of

FILES = sorted((data_dir("sweeps") / "wandb").glob("*.yaml"))


def first(setting):
    """A value that the server could choose."""
    return setting["values"][0] if "values" in setting else setting.get("value", setting.get("min"))


def at(tree, path):
    """The value at a dotted path."""
    for step in path.split("."):
        tree = tree[step]
    return tree


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_agent_s_command_is_one_job(file, plain):
    from wandb.sdk.launch.sweeps import utils

    sweep = yaml.safe_load(file.read_text(encoding="utf-8"))
    chosen = {name: {"value": first(one)} for name, one in sweep["parameters"].items()}
    arguments = utils.create_sweep_command_args({"args": chosen})["args_no_hyphens"]
    assert utils.create_sweep_command(list(sweep["command"]))[2:] == [
        "-m",
        "unlearn_lab",
        "${args_no_hyphens}",
    ]
    config = plain(*arguments)
    for name, one in chosen.items():
        if "." in name:
            assert at(config, name) == one["value"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_metric_is_in_a_result_s_summary(file, make_record):
    metric = yaml.safe_load(file.read_text(encoding="utf-8"))["metric"]
    assert isinstance(at(summary_of(make_record()), metric["name"]), float)
    assert metric["goal"] == "minimize"


def test_they_are_no_presets_of_ours():
    assert FILES
    assert "wandb" not in presets()
