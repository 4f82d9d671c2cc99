"""Every YAML file is bound to the signature of what it configures, both ways."""

from pathlib import Path

import pytest
import torch
import yaml

from unlearn_lab.config.build import build, check
from unlearn_lab.config.paths import data_dir
from unlearn_lab.data.texts import TextSource
from unlearn_lab.evaluate.metric import AnyMetric
from unlearn_lab.evaluate.watch import Watch
from unlearn_lab.execute.arithmetic import with_arithmetic
from unlearn_lab.execute.parts import training_settings
from unlearn_lab.models.given import GivenModel, Holding, UnknownUpdate
from unlearn_lab.quantize.calibration import SOURCES, Calibration
from unlearn_lab.quantize.quantizer import AnyQuantizer
from unlearn_lab.record.tuning import TuneTarget, tune_target
from unlearn_lab.unlearn.objectives.objective import Objective
from unlearn_lab.unlearn.optimizers.update import UpdateRule, update_rule
from unlearn_lab.unlearn.training.settings import FineTuning, UnlearningTraining
from unlearn_lab.unlearn.training.stop import StopRule

CONF = data_dir("conf")
SWEEPS = data_dir("sweeps")


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def of_trainings(group):
    """The options of a group but for those of a model that is given."""
    return [name for name in options(group) if name != "given"]


def test_the_promised_options_exist():
    assert {"ga", "ga_gdr", "ga_klr", "npo", "npo_gdr", "npo_klr"} <= set(options("method"))
    assert {"none", "bf16", "rtn2", "rtn3", "rtn4", "rtn8"} <= set(options("quant"))
    assert {"gptq4", "gptq8", "awq4", "fp4", "nf4", "int8", "llmint8"} <= set(options("quant"))
    assert {"gguf_q4_0", "gguf_q8_0", "prequantized"} <= set(options("quant"))
    assert set(options("quant/calibration")) == set(SOURCES)
    assert {"tiny", "hf"} <= set(options("model"))
    assert {"tiny", "hf", "smoke"} <= set(options("trainer"))
    assert "gazette" in options("dataset")
    assert {"adamw", "adamw_8bit", "sure", "sure_released"} <= set(options("optimizer"))
    assert {"npo_muse", "npo_muse_gdr", "npo_muse_klr"} <= set(options("method"))


@pytest.mark.parametrize("name", of_trainings("method"))
def test_methods(plain, name):
    assert isinstance(build(plain(f"method={name}")["method"], Objective, "method"), Objective)


def test_a_given_model_brings_its_optimizer_and_trainer(plain):
    values = plain("method=given", "method.path=somewhere", "model=hf", "model.path=target",
                   "model.finetune=false", "quant=gptq4")  # fmt: skip
    assert isinstance(build(values["method"], GivenModel, "method"), GivenModel)
    assert build(values["optimizer"], UnknownUpdate, "optimizer").lr is None
    assert values["trainer"]["weights"] == "auto"
    assert build({**values["trainer"], "weights": "bf16", "arithmetic": "fp32"}, Holding, "trainer")
    assert values["quant"]["calibration"]["length"] == 2048
    build(with_arithmetic(values)["finetune"], FineTuning, "finetune")
    named = plain("method=given", "method.path=x", "trainer=hf", "optimizer=sure")
    assert named["trainer"]["weights"] == "bf16"  # refused later, by name
    assert "percentile" in named["optimizer"]


@pytest.mark.parametrize("name", options("quant"))
def test_quantizers(plain, name):
    given = ["quant.unlearned=somewhere"] if name == "prequantized" else []
    node = plain(f"quant={name}", *given)["quant"]
    quantizer = build(node, AnyQuantizer, "quant")
    digits = name.removeprefix("gguf_q").rstrip("_0").lstrip("abcdefghijklmnopqrstuvwxyz")
    if digits and name != "bf16":
        assert quantizer.bits == int(digits)


@pytest.mark.parametrize("source", options("quant/calibration"))
def test_calibrations(plain, source):
    node = plain("quant=awq4", f"quant/calibration={source}")["quant"]["calibration"]
    calibration = build(node, Calibration, "quant.calibration")
    assert calibration.source == source
    assert (calibration.text is not None) == (source in ("generic", "mixed"))


@pytest.mark.parametrize("name", options("generic_text"))
def test_generic_texts(plain, name):
    build(plain(f"generic_text={name}")["generic_text"], TextSource, "generic_text")


@pytest.mark.parametrize("name", of_trainings("trainer"))
@pytest.mark.parametrize("stop", options("trainer/stop"))
def test_trainers(plain, name, stop):
    trainer = training_settings(with_arithmetic(plain(f"trainer={name}", f"trainer/stop={stop}")))
    assert isinstance(build(trainer, UnlearningTraining, "trainer").stop, StopRule)


@pytest.mark.parametrize("name", of_trainings("trainer"))
@pytest.mark.parametrize("adapter", options("trainer/adapter"))
def test_adapters(plain, name, adapter):
    config = with_arithmetic(plain(f"trainer={name}", f"trainer/adapter={adapter}"))
    trainer = training_settings(config)
    build(config["trainer"]["watch"], Watch, "trainer.watch")
    made = build(trainer, UnlearningTraining, "trainer").adapter
    assert type(made).__name__.lower() == {"none": "nonetype"}.get(adapter, adapter)


@pytest.mark.parametrize("name", options("finetune"))
def test_fine_tunings(plain, name):
    build(with_arithmetic(plain(f"finetune={name}"))["finetune"], FineTuning, "finetune")


@pytest.mark.parametrize("name", [None, *of_trainings("trainer")])
@pytest.mark.parametrize("model", ["tiny", "hf", "muse_books"])
def test_fine_tuning_follows_the_trainer_which_follows_the_model(plain, model, name):
    given = [f"model={model}", *(["model.path=x"] if model == "hf" else [])]
    given += [f"trainer={name}"] if name else []
    followed = name or model
    option = followed if followed in options("finetune") else "hf"
    config = plain(*given)
    assert config == {**plain(*given, f"finetune={option}"), "report": config["report"]}
    for shared in ("max_length", "chunking"):
        assert config["finetune"][shared] == config["trainer"][shared]


def test_fine_tuning_is_chosen_and_overridden_apart_from_the_trainer(plain):
    config = plain("finetune=smoke", "finetune.lr=0.5")
    assert (config["finetune"]["steps"], config["finetune"]["lr"]) == (6, 0.5)
    assert config["trainer"] == plain()["trainer"]
    assert plain("trainer=smoke", "finetune=tiny")["finetune"] == plain()["finetune"]


@pytest.mark.parametrize("name", options("model"))
def test_models(plain, name):
    check(
        plain(f"model={name}", *(["model.path=somewhere"] if name == "hf" else []))["model"],
        "model",
    )


@pytest.mark.parametrize("name", sorted({*options("model")} - {*options("trainer")} - {"hf"}))
def test_models_without_a_trainer_of_their_own_take_that_of_the_hub(plain, name):
    found, hub = plain(f"model={name}"), plain("model=hf", f"model.path={name}")
    for group in ("trainer", "finetune", "generic_text", "quant", "optimizer"):
        assert found[group] == hub[group]
    own = {setting: found["model"][setting] for setting in ("path", "sha256")}
    assert found["model"] == hub["model"] | own
    assert own["path"].count("/") == 1
    assert (own["sha256"] is not None) == own["path"].endswith(".gguf")


@pytest.mark.parametrize("name", options("dataset"))
def test_datasets(plain, name):
    check(plain(f"dataset={name}")["dataset"], "dataset")


@pytest.mark.parametrize("name", of_trainings("optimizer"))
def test_optimizers(plain, name):
    rule = update_rule(plain(f"optimizer={name}")["optimizer"])
    assert isinstance(rule, UpdateRule)
    assert rule.lr > 0


@pytest.mark.parametrize("name", ["sure", "sure_released"])
@pytest.mark.parametrize("inner", options("optimizer/inner"))
def test_optimizers_behind_sure(plain, name, inner):
    node = plain(f"optimizer={name}", f"optimizer/inner={inner}", "optimizer.lr=0.25")["optimizer"]
    rule = update_rule(node)
    made = rule.inner([torch.nn.Parameter(torch.zeros(2, 2))], lr=rule.lr)
    assert type(made).__name__.lower() == inner
    assert made.defaults["lr"] == 0.25


@pytest.mark.parametrize("name", options("eval"))
def test_evaluations(plain, name):
    for metric, node in plain(f"eval={name}")["eval"]["metrics"].items():
        build(node, AnyMetric, metric)


@pytest.mark.parametrize("name", options("tune"))
def test_what_is_searched_for(plain, name):
    assert isinstance(tune_target(plain(f"tune={name}")["tune"]), TuneTarget)


def test_published_evaluations_differ_from_the_default_in_what_they_say(plain):
    default, published, sampled = (
        plain(f"eval={name}")["eval"] for name in ("muse", "muse_published", "muse_sampled")
    )
    assert set(published) == set(default)
    assert published["metrics"]["knowmem"] == {
        **default["metrics"]["knowmem"],
        "answer_cue": "Answer: ",
    }
    assert published["metrics"]["utility"]["answer_cue"] == "Answer: "
    assert published["metrics"]["min_k"]["num_tokens"] is None
    assert published["metrics"]["verbmem"] == default["metrics"]["verbmem"]
    assert sampled["metrics"].pop("verbmem")["temperature"] == 0.9
    published["metrics"].pop("verbmem")
    assert sampled == published


def test_a_recipe_never_outranks_the_command_line(plain):
    """The order of the defaults list: recipes first, what the user says last."""
    changed = plain(
        "method=npo_gdr", "optimizer.lr=0.5", "method.retain.weight=7", "trainer.epochs=3"
    )
    assert (
        changed["optimizer"]["lr"],
        changed["method"]["retain"]["weight"],
        changed["trainer"]["epochs"],
    ) == (0.5, 7, 3)


def test_smoke_is_short_for_every_method(plain):
    for method in options("method"):
        config = plain("trainer=smoke", f"method={method}")
        assert config["trainer"]["epochs"] <= 2
        assert config["finetune"]["steps"] <= 10


@pytest.mark.parametrize(
    "path",
    sorted(CONF.rglob("*.yaml")) + sorted(SWEEPS.rglob("*.yaml")),
    ids=lambda path: path.stem,
)
def test_every_file_says_what_it_is(path: Path):
    text = path.read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text) is not None
