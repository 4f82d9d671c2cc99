"""Configurations that name other code than this package's classes, however they hide it."""

import pytest
from omegaconf import OmegaConf

from unlearn_lab.config.build import Refused, build, check, locate
from unlearn_lab.execute.parts import build_parts

NONE = "unlearn_lab.quantize.none.NoQuantizer"


@pytest.mark.parametrize(
    "target",
    [
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "unlearn_lab.models.load.torch.load",
        "unlearn_lab.quantize.formats.gptqmodel_files.subprocess.run",
        "unlearn_lab.config.build.instantiate",
        "unlearn_lab.graph.cache.Path",
        "unlearn_lab.graph.cache.Cache.__init__.__globals__",
        "unlearn_lab.graph.cache._discard",
        "unlearn_lab.quantize.formats.gptqmodel_files.run",
        "unlearn_lab.cli.main",
        "torch.optim.optimizer.torch.load",
        "torch.optim.sgd.sgd",
        "torch.optim.Adam.__class__",
        "unlearn_lab.",
        "unlearn_lab..x",
        5,
        None,
        ["os.system"],
    ],
)
def test_only_classes_that_are_defined_here_are_built(target):
    for refused in (
        lambda: build({"_target_": target}, object, "method"),
        lambda: locate(str(target), "stage"),
    ):
        with pytest.raises(Refused, match="_target_="):
            refused()


@pytest.mark.parametrize(
    "builder",
    [
        "os:system",
        "unlearn_lab.graph.cache:_discard",
        "unlearn_lab.data.corpus_stage:Path",
        "unlearn_lab.config.build:instantiate",
        "unlearn_lab.data.corpus_stage.build",
    ],
)
def test_a_stage_names_a_builder_and_nothing_else(builder):
    with pytest.raises(Refused, match="_target_="):
        locate(builder, "stage")


def test_a_builder_is_no_node():
    with pytest.raises(Refused, match="only classes"):
        check({"_target_": "unlearn_lab.data.corpus_stage:build"}, "dataset", given=None)


@pytest.mark.parametrize("key", ["_partial_", "_args_", "_recursive_", "_convert_"])
def test_hydras_own_keys_are_unknown_options(key):
    with pytest.raises(Refused, match=f"^quant.{key}: unknown option"):
        build({"_target_": NONE, key: True}, object, "quant")


TRAP = {"_target_": "os.mkdir", "path": "mark"}
HIDDEN = {
    "method": TRAP,
    "method.retain": {**TRAP, "_partial_": False},
    "method.retain.weight": TRAP,
    "optimizer": {"_target_": "torch.optim.optimizer.torch.load", "f": "mark"},
    "optimizer.betas": [TRAP, TRAP],
    "dataset": {**TRAP, "_args_": ["mark"]},
    "dataset.seed": {"deep": {"deeper": TRAP}},
    "eval.metrics.verbmem": TRAP,
    "eval.metrics.verbmem.temperature": [{"deep": [TRAP]}],
    "trainer.stop": TRAP,
    "quant": {"_target_": "unlearn_lab.graph.cache._discard", "folder": "mark"},
}


def test_no_node_of_a_whole_configuration_is_run(plain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = plain(f"runtime.home={tmp_path / 'lab'}")
    build_parts(config)
    for path, node in HIDDEN.items():
        changed = OmegaConf.create(config)
        OmegaConf.update(changed, path, node, merge=False, force_add=True)
        with pytest.raises(Refused, match=rf"^{path}(\._target_)?[=.:]"):
            build_parts(OmegaConf.to_container(changed))
    assert not list(tmp_path.iterdir())
