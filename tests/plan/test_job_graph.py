import copy
import functools
import json

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from unlearn_lab.config.hydra_setup import prepare_configuration
from unlearn_lab.config.paths import data_dir
from unlearn_lab.execute.cores import num_jobs
from unlearn_lab.execute.parts import build_parts, training_settings
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan.job_graph import plan

RTN = {
    "_target_": "unlearn_lab.quantize.rtn.RTN",
    "bits": 4,
    "symmetric": True,
    "granularity": "row",
    "group_size": None,
    "convention": "absmax",
}
NONE = {"_target_": "unlearn_lab.quantize.none.NoQuantizer"}
NPO = {"_target_": "unlearn_lab.unlearn.objectives.npo.NPO", "beta": 0.1}
MIN_K = {"_target_": "unlearn_lab.evaluate.min_k.MinK", "fraction": 0.4, "num_tokens": None}
LEAST_LIKELY = dict.fromkeys(("verbmem", "knowmem", "utility", "min_k"), MIN_K)
UTILITY_FLOOR = {"share": 1.0, "utility": "utility", "every_epochs": 1}
UTILITY_FLOOR |= {"_target_": "unlearn_lab.evaluate.stop.UtilityFloor"}
LORA = {
    "_target_": "unlearn_lab.unlearn.training.lora.LoRA",
    "rank": 2,
    "alpha": 4.0,
    "dropout": 0.0,
    "modules": None,
}
MUSE = {
    "_target_": "unlearn_lab.data.muse.MuseCorpus",
    "revision": None,
    "retain": "retain1",
    "folds": None,
    "fold": None,
}


@functools.cache
def _small():
    prepare_configuration(num_jobs)
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        found = compose("config", [*SMALL, *SMALL_MODEL, "method=ga_gdr"])
    return OmegaConf.to_container(found, resolve=True)


def plain_config(quant):
    """A configuration as it is composed, with this quantizer."""
    return {**copy.deepcopy(_small()), "quant": quant}


@pytest.fixture
def config():
    return plain_config(RTN)


@pytest.fixture
def make(tmp_path):
    return lambda config: plan(build_parts(config), config, ContentKey(tmp_path / "digests"))


def stages(leaf):
    return {stage.key: stage for stage in leaf.record.walk()}


def names(leaf):
    return sorted(stage.name for stage in stages(leaf).values())


def test_a_quantized_leaf(config, make):
    trained = ["corpus", "base", "target", "retrain", "unlearn"]
    found = [*trained, "codes", "widths", "record", *["evaluate"] * 6]
    assert names(make(config)) == sorted(found)


def test_a_full_precision_leaf_evaluates_three_models(config, make):
    assert names(make(config | {"quant": NONE})).count("evaluate") == 3


def changed(config, path, value):
    new = copy.deepcopy(config)
    *parents, last = path.split(".")
    node = new
    for parent in parents:
        node = node[parent]
    node[last] = value
    return new


TRAINED = ["codes", "evaluate", "evaluate", "record", "unlearn", "widths"]
"""What is built again for an unlearned model that is another one."""
LEARNT = ["codes", *["evaluate"] * 6, "record", "retrain", "target", "unlearn", "widths"]
"""What is built again for other controls."""


@pytest.mark.parametrize(
    ("path", "value", "rebuilt"),
    [
        ("runtime.home", "elsewhere", []),
        ("runtime.batch_tokens", 65, []),
        ("report.sweep", "later", []),
        ("quant.bits", 8, ["codes", "evaluate", "evaluate", "evaluate", "record"]),
        ("method.forget", NPO, TRAINED),
        ("method.retain.weight", 2.0, TRAINED),
        ("optimizer.lr", 0.2, TRAINED),
        ("trainer.epochs", 3, TRAINED),
        ("trainer.rounding", "stochastic", TRAINED),
        ("eval.recovery.smallest_denominator", 6, ["record"]),
        ("eval.bits", [4], ["record", "widths"]),
        ("eval.metrics.verbmem.num_tokens", 9, [*["evaluate"] * 6, "record"]),
        ("eval.metrics", LEAST_LIKELY, [*["evaluate"] * 6, "record"]),
        ("finetune.steps", 7, LEARNT),
        ("seed", 1, ["base", *LEARNT]),
        ("model.num_layers", 3, ["base", *LEARNT]),
        ("dataset.seed", 1, sorted(["base", "corpus", *LEARNT])),
    ],
)
def test_what_a_changed_setting_builds_again(config, make, path, value, rebuilt):
    before, after = stages(make(config)), stages(make(changed(config, path, value)))
    assert sorted(stage.name for key, stage in after.items() if key not in before) == rebuilt


def test_another_auc_of_the_control_changes_the_record_alone(config, make, tmp_path):
    (tmp_path / "news").mkdir()
    news = config | {"dataset": MUSE | {"path": str(tmp_path / "news")}}
    news = changed(news, "eval.metrics", LEAST_LIKELY)
    before, after = (
        make(changed(news, "eval.auc_retrain", auc)) for auc in ("scored", "muse_news")
    )
    assert after.record.key != before.record.key
    assert after.record.inputs == before.record.inputs


def settings(node):
    """The names of all settings of a node and of those inside it."""
    if not isinstance(node, dict):
        return set()
    return {*node, *(name for inner in node.values() for name in settings(inner))}


def test_every_setting_but_runtime_report_and_watch_reaches_a_key(config, make):
    """A setting that no key holds would serve another setting's results."""
    text = json.dumps([stage.description for stage in stages(make(config)).values()])
    nodes = ("model", "dataset", "method", "optimizer", "finetune", "quant", "eval")
    held = {"seed"}.union(*(settings(config[name]) for name in nodes))
    held |= settings(training_settings(config))
    assert {"hidden_size", "forget", "lr", "weights", "rounding", "steps", "recovery"} <= held
    assert not {name for name in held if f'"{name}"' not in text}
    apart = (settings(config["runtime"]) | settings(config["report"])) - held
    assert {"home", "sweep", "batch_tokens"} <= apart
    apart |= {"watch", "every_epochs"}
    assert not {name for name in apart if f'"{name}"' in text}


def test_a_stop_rule_waits_for_the_retrain_control(config, make):
    assert "retrain_scores" not in make(config).unlearn.inputs
    ruled = changed(config, "trainer.stop", UTILITY_FLOOR)
    assert make(ruled).unlearn.inputs["retrain_scores"].inputs["model"].name == "retrain"


@pytest.mark.parametrize(
    ("weights", "rounding"), [("fp32", "nearest"), ("bf16", "nearest"), ("bf16", "stochastic")]
)
def test_models_are_evaluated_in_the_dtype_their_weights_are_held_in(
    config, make, weights, rounding
):
    asked = changed(changed(config, "trainer.weights", weights), "trainer.rounding", rounding)
    found = [stage for stage in stages(make(asked)).values() if stage.name == "evaluate"]
    assert {stage.params["weights"] for stage in found} == {weights}


@pytest.fixture
def hub(config, tmp_path):
    for name in ("mine", "control"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    model = {
        "_target_": "unlearn_lab.models.hub.HubModel",
        "path": str(tmp_path / "mine"),
        "revision": None,
        "tokenizer": None,
        "tokenizer_revision": None,
        "finetune": True,
        "retrain": None,
        "retrain_revision": None,
        "trust_remote_code": False,
    }
    return config | {"model": model}


def test_a_local_model_enters_the_key_by_content(hub, make, tmp_path):
    before = make(hub)
    (tmp_path / "mine" / "config.json").write_text("changed")
    assert make(hub).base.key != before.base.key


def test_a_finished_target_and_control_are_imported(hub, make, tmp_path):
    model = hub["model"] | {"finetune": False, "retrain": str(tmp_path / "control")}
    found = {stage.name: stage for stage in stages(make(hub | {"model": model})).values()}
    for who, folder in (("target", "mine"), ("retrain", "control")):
        assert found[who].builder == "unlearn_lab.models.import_stage:build_imported"
        assert found[who].params["path"] == str(tmp_path / folder)
        setting = "model.path" if who == "target" else "model.retrain"
        digests = found[who].depends["files"]
        assert {name: len(digest) for name, digest in digests.items()} == {setting: 64}
    (tmp_path / "control" / "config.json").write_text("changed")
    after = {stage.name: stage for stage in stages(make(hub | {"model": model})).values()}
    assert after["target"].key == found["target"].key
    assert after["retrain"].key != found["retrain"].key


def test_a_tokenizer_from_another_place_enters_the_key_by_content(hub, make, tmp_path):
    for finetune in (True, False):
        model = {"finetune": finetune, "tokenizer": str(tmp_path / "control")}
        asked = hub | {"model": hub["model"] | model}
        before = make(asked).record.inputs["target"].key
        (tmp_path / "control" / "config.json").write_text(f"changed {finetune}")
        assert make(asked).record.inputs["target"].key != before


def test_without_a_control_there_are_two_models(hub, make):
    leaf = make(hub | {"model": hub["model"] | {"finetune": False}})
    assert "retrain" not in names(leaf)
    assert not [name for name in leaf.record.inputs if name.startswith("retrain")]
    assert names(leaf).count("evaluate") == 4
    ruled = changed(hub, "trainer.stop", UTILITY_FLOOR)
    ruled["model"] = hub["model"] | {"finetune": False}
    with pytest.raises(ValueError, match=r"^trainer\.stop: .* give model\.retrain"):
        make(ruled)


@pytest.fixture
def sure(config):
    optimizer = {
        "_target_": "unlearn_lab.unlearn.optimizers.sure.SURE",
        "lr": 0.1,
        "inner": {"_target_": "torch.optim.SGD", "momentum": 0.9},
        "percentile": 90.0,
        "granularity": "row",
        "modules": None,
        "batches": None,
        "refresh_steps": None,
    }
    return changed(config, "method.forget", NPO) | {"optimizer": optimizer}


@pytest.mark.parametrize(
    ("path", "value", "ranked_again"),
    [
        ("optimizer.percentile", 99.0, False),
        ("optimizer.lr", 0.2, False),
        ("optimizer.inner.momentum", 0.8, False),
        ("optimizer.refresh_steps", 2, False),
        ("method.retain.weight", 3.0, False),
        ("trainer.epochs", 3, False),
        ("trainer.rounding", "stochastic", False),
        ("trainer.weights", "fp32", True),
        ("optimizer.granularity", "head", True),
        ("optimizer.modules", "mlp", True),
        ("optimizer.batches", 1, True),
        ("method.forget.beta", 0.2, True),
        ("trainer.batch_size", 1, True),
        ("trainer.trainable", "all", True),
        ("seed", 1, True),
    ],
)
def test_units_are_ranked_again_only_for_what_their_scores_depend_on(
    sure, make, path, value, ranked_again
):
    before, after = stages(make(sure)), stages(make(changed(sure, path, value)))
    fresh = {stage.name for key, stage in after.items() if key not in before}
    assert "unlearn" in fresh
    assert ("saliency" in fresh) == ranked_again


def test_adapters_bring_their_library_into_the_key_and_no_step_size_into_the_codes(config, make):
    found = {None: stages(make(changed(config, "trainer.adapter", None)))}
    found["lora"] = stages(make(changed(config, "trainer.adapter", LORA)))
    for adapter, leaf in found.items():
        unlearn = next(s for s in leaf.values() if s.name == "unlearn")
        codes = [s for s in leaf.values() if s.name in ("codes", "widths")]
        assert set(unlearn.depends.get("libraries", {})) == ({"peft"} if adapter else set())
        assert [s.params.get("merged", False) for s in codes] == [adapter is not None] * 2
    fresh = [s.name for key, s in found["lora"].items() if key not in found[None]]
    assert sorted(fresh) == ["codes", "evaluate", "evaluate", "record", "unlearn", "widths"]


def test_only_sure_has_a_saliency_stage_and_it_wants_a_forget_term(config, sure, make):
    assert "saliency" not in names(make(config))
    assert make(sure).unlearn.inputs["saliency"].inputs["target"].name == "target"
    with pytest.raises(ValueError, match=r"optimizer: SURE needs .* method\.forget"):
        make(sure | {"method": {"_target_": "unlearn_lab.unlearn.objectives.objective.Learning"}})
