import copy
import json

import pytest

from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan import NO_QUANTIZER, plan


@pytest.fixture
def config():
    return plain_config({"_target_": "unlearn_lab.quantize.rtn.RTN", "bits": 4})


def plain_config(quant):
    return {
        "model": {"_target_": "unlearn_lab.models.tiny.TinyLlama", "hidden_size": 8},
        "dataset": {"_target_": "unlearn_lab.data.gazette.Gazette", "seed": 0},
        "method": {"forget": "ga"},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1},
        "trainer": {
            "weights": "bf16",
            "rounding": "nearest",
            "epochs": 2,
            "stop": {"_target_": "unlearn_lab.unlearn.stop.FixedEpochs"},
        },
        "finetune": {"steps": 3},
        "quant": quant,
        "export": False,
        "eval": {
            "metrics": {"m": {}},
            "bits": [4],
            "recovery": {"smallest_denominator": 5},
            "auc_retrain": "scored",
        },
        "runtime": {"home": "lab", "batch_tokens": 64},
        "report": {"sweep": "now"},
        "seed": 0,
    }


@pytest.fixture
def make(tmp_path):
    return lambda config: plan(config, ContentKey(tmp_path / "digests"))


def stages(leaf):
    return {stage.key: stage for stage in leaf.record.walk()}


def names(leaf):
    return sorted(stage.name for stage in stages(leaf).values())


def test_a_quantized_leaf(config, make):
    assert names(make(config)) == sorted(
        [
            "corpus",
            "base",
            "target",
            "retrain",
            "unlearn",
            "codes",
            "widths",
            "record",
            *["evaluate"] * 6,
        ]
    )


def test_a_full_precision_leaf_evaluates_three_models(config, make):
    assert names(make(config | {"quant": NO_QUANTIZER})).count("evaluate") == 3


def changed(config, path, value):
    new = copy.deepcopy(config)
    *parents, last = path.split(".")
    node = new
    for parent in parents:
        node = node[parent]
    node[last] = value
    return new


@pytest.mark.parametrize(
    ("path", "value", "rebuilt"),
    [
        ("runtime.home", "elsewhere", []),
        ("report.sweep", "later", []),
        ("quant.bits", 8, ["codes", "evaluate", "evaluate", "evaluate", "record"]),
        ("method.forget", "npo", ["codes", "evaluate", "evaluate", "record", "unlearn", "widths"]),
        ("optimizer.lr", 0.2, ["codes", "evaluate", "evaluate", "record", "unlearn", "widths"]),
        ("trainer.epochs", 3, ["codes", "evaluate", "evaluate", "record", "unlearn", "widths"]),
        ("eval.recovery.smallest_denominator", 6, ["record"]),
        ("eval.auc_retrain", "muse_news", ["record"]),
        ("eval.bits", [4, 8], ["record", "widths"]),
        (
            "trainer.rounding",
            "stochastic",
            ["codes", "evaluate", "evaluate", "record", "unlearn", "widths"],
        ),
        ("eval.metrics", {"n": {}}, [*["evaluate"] * 6, "record"]),
        (
            "finetune.steps",
            4,
            ["codes", *["evaluate"] * 6, "record", "retrain", "target", "unlearn", "widths"],
        ),
        (
            "seed",
            1,
            [
                "base",
                "codes",
                *["evaluate"] * 6,
                "record",
                "retrain",
                "target",
                "unlearn",
                "widths",
            ],
        ),
        (
            "dataset.seed",
            1,
            [
                "base",
                "codes",
                "corpus",
                *["evaluate"] * 6,
                "record",
                "retrain",
                "target",
                "unlearn",
                "widths",
            ],
        ),
    ],
)
def test_what_a_changed_setting_builds_again(config, make, path, value, rebuilt):
    before, after = stages(make(config)), stages(make(changed(config, path, value)))
    assert sorted(stage.name for key, stage in after.items() if key not in before) == rebuilt


def test_every_setting_but_runtime_and_report_reaches_a_key(config, make):
    """A setting that no key holds would serve another setting's results."""
    text = json.dumps([stage.description for stage in stages(make(config)).values()])
    for name in (
        "hidden_size",
        "forget",
        "lr",
        "weights",
        "rounding",
        "epochs",
        "steps",
        "bits",
        "smallest_denominator",
        "seed",
    ):
        assert f'"{name}"' in text
    for name in ("home", "sweep"):
        assert f'"{name}"' not in text


def test_a_stop_rule_waits_for_the_retrain_control(config, make):
    assert "retrain_scores" not in make(config).unlearn.inputs
    ruled = changed(config, "trainer.stop", {"_target_": "unlearn_lab.evaluate.stop.UtilityFloor"})
    assert make(ruled).unlearn.inputs["retrain_scores"].inputs["model"].name == "retrain"


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_models_are_evaluated_in_the_dtype_their_weights_are_held_in(config, make, weights):
    leaf = make(changed(config, "trainer.weights", weights))
    assert {s.params["weights"] for s in stages(leaf).values() if s.name == "evaluate"} == {weights}


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
        assert found[who].builder == "unlearn_lab.models.stage:build_imported"
        assert found[who].params["path"] == str(tmp_path / folder)
        assert len(found[who].params["content"]) == 64


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
    ruled = changed(hub, "trainer.stop", {"_target_": "unlearn_lab.evaluate.stop.UtilityFloor"})
    ruled["model"] = hub["model"] | {"finetune": False}
    with pytest.raises(ValueError, match=r"^trainer\.stop: .* give model\.retrain"):
        make(ruled)


@pytest.fixture
def sure(config):
    trainer = config["trainer"] | {"batch_size": 2, "max_length": 9, "trainable": "all"}
    trainer |= {"chunking": "texts"}
    optimizer = {"_target_": "unlearn_lab.unlearn.sure.SURE", "lr": 0.1, "inner": {"lr": 1}}
    optimizer |= {"percentile": 90, "granularity": "row", "modules": None, "batches": None}
    method = {"forget": {"beta": 1}, "retain": {"weight": 2}}
    return config | {"trainer": trainer, "optimizer": optimizer, "method": method}


@pytest.mark.parametrize(
    ("path", "value", "ranked_again"),
    [
        ("optimizer.percentile", 99, False),
        ("optimizer.lr", 0.2, False),
        ("optimizer.inner", {"lr": 2}, False),
        ("method.retain.weight", 3, False),
        ("trainer.epochs", 3, False),
        ("trainer.rounding", "stochastic", False),
        ("trainer.weights", "fp32", True),
        ("optimizer.granularity", "head", True),
        ("optimizer.modules", "mlp", True),
        ("optimizer.batches", 1, True),
        ("method.forget.beta", 2, True),
        ("trainer.batch_size", 1, True),
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
    found["lora"] = stages(make(changed(config, "trainer.adapter", {"rank": 2})))
    for adapter, leaf in found.items():
        unlearn = next(s for s in leaf.values() if s.name == "unlearn")
        codes = [s for s in leaf.values() if s.name in ("codes", "widths")]
        assert ("libraries" in unlearn.params) == (adapter is not None)
        assert [s.params.get("merged", False) for s in codes] == [adapter is not None] * 2
    fresh = [s.name for key, s in found["lora"].items() if key not in found[None]]
    assert sorted(fresh) == ["codes", "evaluate", "evaluate", "record", "unlearn", "widths"]


def test_only_sure_has_a_saliency_stage_and_it_wants_a_forget_term(config, sure, make):
    assert "saliency" not in names(make(config))
    assert make(sure).unlearn.inputs["saliency"].inputs["target"].name == "target"
    with pytest.raises(ValueError, match=r"optimizer: SURE needs .* method\.forget"):
        make(sure | {"method": {"learn": {}}})
