"""The training stages from checkpoint to checkpoint: what they leave, and what they recompute."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoModelForCausalLM

from tests.data.corpora import ROLES
from unlearn_lab.data.stored import FILE
from unlearn_lab.execute.parts import training_settings
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage
from unlearn_lab.unlearn.optimizers import saliency_stage
from unlearn_lab.unlearn.training.train_stage import build_finetuned, build_unlearned

from .test_fit import RUNTIME

TEXTS = tuple(" ".join(f"w{2 + (i * k) % 18}" for k in range(12)) for i in range(1, 5))
SPLITS = ("forget", "retain")


@pytest.fixture
def artifact(tmp_path):
    stage = Stage(name="made", builder="here:now", version=1, params={})

    def make(path):
        return Artifact(stage=stage, path=path, facts={}, seconds=0.0, built_now=True)

    return make


@pytest.fixture
def inputs(checkpoint, artifact, tmp_path):
    corpus = {name: TEXTS if name in SPLITS else () for name in ROLES}
    (tmp_path / FILE).write_text(json.dumps(corpus))
    model = artifact(checkpoint)
    return {"corpus": artifact(tmp_path), "target": model, "base": model}


@pytest.fixture
def params(plain):
    def make(*overrides):
        config = plain("trainer=smoke", "trainer.batch_size=2", "trainer.max_length=16", *overrides)
        trainer = training_settings(config)
        finetune = config["finetune"] | {"batch_size": 2, "steps": 2}
        unlearning = {name: config[name] for name in ("method", "optimizer", "seed")}
        shared = ("arithmetic", "batch_size", "max_length", "chunking", "trainable")
        ranking = {name: trainer[name] for name in shared}
        ranking |= {"granularity": "row", "modules": None, "batches": None, "weights": "bf16"}
        return {
            build_finetuned: {"finetune": finetune, "learn": SPLITS, "seed": 0},
            build_unlearned: unlearning | {"trainer": trainer},
            saliency_stage.build: ranking | {"forget": config["method"]["forget"], "seed": 0},
        }

    return make


@pytest.fixture
def build(inputs, params, tmp_path):
    def run(builder, name, *overrides, **changed):
        work = tmp_path / name
        work.mkdir()
        runtime = dataclasses.replace(RUNTIME, **changed)
        return work, builder(params(*overrides)[builder], inputs, work, runtime)

    return run


def entered(run):
    """How often a block's MLP was entered."""
    seen = []
    hook = register_module_forward_pre_hook(
        lambda module, _: seen.append(module) if type(module).__name__ == "LlamaMLP" else None
    )
    try:
        run()
    finally:
        hook.remove()
    return len(seen)


@pytest.mark.parametrize(
    ("builder", "once", "again"),
    [
        (build_finetuned, 2, 2),  # two looks at the head; two steps
        (build_unlearned, 2, 8),  # two looks at the head; two epochs of two steps on two splits
        (saliency_stage.build, 0, 2),
    ],
)
def test_every_pass_that_takes_gradients_recomputes_if_asked(build, builder, once, again):
    blocks, method = 2, "method=ga_gdr"
    plain = entered(lambda: build(builder, "off", method, gradient_checkpointing=False))
    twice = entered(lambda: build(builder, "on", method, gradient_checkpointing=True))
    assert plain == blocks * (once + again)
    assert twice == blocks * (once + 2 * again)


def test_recomputing_changes_no_bit_on_a_cpu(build, tmp_path):
    for name, wanted in (("off", False), ("on", True)):
        build(build_unlearned, name, gradient_checkpointing=wanted)
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("off", "on"))
    assert all(torch.equal(one[name], value) for name, value in other.items())


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_adapters_end_in_an_ordinary_checkpoint(build, checkpoint, weights):
    settings = ("trainer/adapter=lora", f"trainer.weights={weights}", "optimizer.lr=0.01")
    work, facts = build(build_unlearned, "lora", "method=npo_klr", *settings)
    full, _ = build(build_unlearned, "full", "method=npo_klr", *settings[1:])
    assert sorted(p.name for p in work.iterdir()) == sorted(p.name for p in full.iterdir())
    before = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=weights_dtype(weights))
    after = load_file(work / "model.safetensors")
    assert after.keys() == before.state_dict().keys()
    moved = {name for name, value in before.state_dict().items() if (value != after[name]).any()}
    assert moved == {name for name in after if "layers" in name and "norm" not in name}
    assert {value.dtype for value in after.values()} == {weights_dtype(weights)}
    assert 0 < facts["adapter"]["changed"] <= 1
    assert facts["parameters"] == sum(p.numel() for p in before.parameters())


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
@pytest.mark.parametrize("builder", [build_finetuned, build_unlearned])
def test_what_ran_is_the_arithmetic_that_was_asked_for(build, monkeypatch, builder, weights):
    monkeypatch.setattr("unlearn_lab.models.device.computes_in_bfloat16", lambda device: True)
    asked = (f"trainer.weights={weights}", f"finetune.weights={weights}", "method=npo_klr")
    (one, facts), (other, exact) = (
        build(builder, kind, *asked, f"trainer.arithmetic={kind}") for kind in ("bf16", "fp32")
    )
    assert (facts["arithmetic"], exact["arithmetic"]) == ("bf16", "fp32")
    assert facts["weights"] == weights
    ends = [load_file(folder / "model.safetensors") for folder in (one, other)]
    assert {value.dtype for end in ends for value in end.values()} == {weights_dtype(weights)}
    assert any((value != ends[1][name]).any() for name, value in ends[0].items())


@pytest.mark.parametrize("builder", [build_finetuned, build_unlearned, saliency_stage.build])
def test_a_device_without_bfloat16_refuses_it(build, monkeypatch, builder):
    monkeypatch.setattr("unlearn_lab.models.device.computes_in_bfloat16", lambda device: False)
    with pytest.raises(ValueError, match=r"arithmetic=bf16: cpu .*emulates"):
        build(builder, "refused", "trainer.arithmetic=bf16")


def weights_dtype(weights):
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[weights]


def test_a_merge_that_is_not_finite_is_no_checkpoint(build):
    """The only step starts at the target, so that its loss is finite; what it leads to is not."""
    one_step = ("trainer.batch_size=4", "trainer.epochs=1", "method=ga")
    adapter = ("trainer/adapter=lora", "trainer.adapter.alpha=1e15", "optimizer.lr=1e30")
    with pytest.raises(ValueError, match=r"_proj\.weight holds NaN"):
        build(build_unlearned, "lora", *one_step, *adapter)
