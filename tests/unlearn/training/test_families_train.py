"""What unlearning leaves of a family's checkpoint: tied weights, settings, every weight's place."""

import json

import pytest
import torch
from safetensors import safe_open

from tests.data.corpora import ROLES
from tests.models.families import FAMILIES, TEXTS, TIED, save
from unlearn_lab.data.stored import FILE
from unlearn_lab.execute.parts import training_settings
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage
from unlearn_lab.models.load import load_model
from unlearn_lab.unlearn.training.train_stage import build_finetuned, build_unlearned

from .test_fit import RUNTIME

EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def target(family, tmp_path):
    """With a temperature that does not sample, as published checkpoints have one."""
    folder = save(family, tmp_path / "target")
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text()) | {"temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}
    path.write_text(json.dumps(settings))
    return folder


@pytest.fixture
def inputs(target, tmp_path):
    corpus = dict.fromkeys(ROLES, ())
    (tmp_path / FILE).write_text(json.dumps(corpus | {"forget": TEXTS[:2], "retain": TEXTS[2:]}))
    made = Stage(name="made", builder="here:now", version=1, params={})
    paths = {"corpus": tmp_path, "target": target, "base": target}
    return {
        name: Artifact(stage=made, path=path, facts={}, seconds=0.0, built_now=True)
        for name, path in paths.items()
    }


@pytest.fixture
def params(plain):
    config = plain(
        "trainer=smoke",
        "trainer.batch_size=2",
        "trainer.max_length=48",
        "trainer.trainable=all",
        "optimizer.lr=1e-3",
        "method=npo_klr",
    )
    trainer = training_settings(config)
    finetune = config["finetune"] | {"batch_size": 2, "steps": 2, "weights": "bf16"}
    unlearning = {name: config[name] for name in ("method", "optimizer", "seed")}
    return {
        build_finetuned: {"finetune": finetune, "learn": ["forget", "retain"], "seed": 0},
        build_unlearned: unlearning | {"trainer": trainer},
    }


@pytest.mark.parametrize("build", [build_finetuned, build_unlearned])
def test_what_is_saved_loads_again_with_its_tie(family, target, inputs, params, tmp_path, build):
    work = tmp_path / "work"
    work.mkdir()
    build(params[build], inputs, work, RUNTIME)
    before, after = load_model(target, "bf16"), load_model(work, "bf16")
    moved = dict(after.named_parameters())
    assert not torch.equal(before.get_parameter(EMBEDDING), moved[EMBEDDING])
    assert (after.lm_head.weight is moved[EMBEDDING]) == (family in TIED)
    with safe_open(work / "model.safetensors", "pt") as file:
        assert set(file.keys()) == moved.keys()
        for name, parameter in moved.items():
            assert torch.equal(file.get_tensor(name), parameter)
    assert after.generation_config.temperature is None
    assert after.generation_config.eos_token_id == 2
