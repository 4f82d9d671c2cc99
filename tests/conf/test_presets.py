"""Every preset: its jobs can be built, its first line is right, and what outranks it."""

from copy import deepcopy

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from benchmarks.gpu_hours import told
from benchmarks.presets import load_presets
from tests.presets import (
    combinations,
    composed_job,
    composed_preset,
    overrides_of,
    params_of,
    typical,
)
from unlearn_lab.config.paths import data_dir
from unlearn_lab.config.spelling import written_out
from unlearn_lab.execute.arithmetic import with_arithmetic
from unlearn_lab.execute.given_weights import with_stored_weights
from unlearn_lab.execute.parts import build_parts
from unlearn_lab.record.tuning import TuneTarget, tune_target
from unlearn_lab.unlearn.objectives.npo import NPO, NPOLogits
from unlearn_lab.unlearn.objectives.retain import RetainKL

STEMS = sorted(path.stem for path in (data_dir("sweeps") / "grid").glob("*.yaml"))
STUDIES = [stem for stem in STEMS if stem.startswith("tune_")]
GRIDS = [stem for stem in STEMS if stem not in STUDIES]
CORRECTED = [stem for stem in GRIDS if stem.endswith("_corrected")]
SIX = "ga ga_gdr ga_muse_klr npo_muse npo_muse_gdr npo_muse_klr"


@pytest.fixture(params=[typical, pytest.param(combinations, marks=pytest.mark.slow)])
def jobs(request):
    """The jobs of a preset with the plain values that they compose: some, or under slow all."""

    def found(stem):
        return [(job, values_of(stem, overrides_of(job))) for job in request.param(stem)]

    return found


def values_of(stem, overrides):
    values, _ = composed_job(stem, *overrides)
    return with_stored_weights(with_arithmetic(written_out(deepcopy(values))))


def first_line(stem):
    """The first line that says something: a preset begins with its package."""
    return (data_dir("sweeps") / "grid" / f"{stem}.yaml").read_text().splitlines()[1]


@pytest.mark.parametrize("stem", GRIDS)
def test_jobs_can_be_built_and_the_first_line_counts_them(jobs, stem):
    assert f" {len(combinations(stem))} jobs" in first_line(stem)
    for _, config in jobs(stem):
        build_parts(config)


@pytest.mark.parametrize("stem", STUDIES)
def test_a_study_searches_for_the_highest_from_a_seed(stem):
    config = composed_preset(stem)
    sweeper = config.hydra.sweeper
    assert (sweeper.direction, sweeper.max_failure_rate) == ("maximize", 1)
    assert sweeper.sampler.seed is not None
    assert f" {sweeper.n_trials} trials" in first_line(stem)
    assert isinstance(tune_target(OmegaConf.to_container(config.tune)), TuneTarget)
    given = [f"{name}={values}" for name, values in sweeper.params.items()]
    space = OverridesParser.create().parse_overrides(given)
    for end in (("start",), ("end", "stop")):
        overrides = [at(end, override) for override in space]
        job = dict(override.split("=", 1) for override in overrides)
        build_parts(values_of(stem, overrides_of(job)))


def at(end, override):
    """The override at one end of what is searched; a fixed one as it is."""
    values = override.value()
    ends = [getattr(values, name) for name in end if hasattr(values, name)]
    return f"{override.key_or_group}={ends[0] if ends else values}"


@pytest.mark.slow
@pytest.mark.parametrize("stem", GRIDS)
def test_no_two_jobs_are_equal(stem):
    found = [values_of(stem, overrides_of(job)) for job in combinations(stem)]
    assert len({str({**config, "report": None}) for config in found}) == len(found)


def test_first_lines_say_what_is_calculated():
    presets = load_presets()
    assert len(presets) == 2 * len(CORRECTED) == 16
    for stem, preset in presets.items():
        assert first_line(stem).endswith(f": {told(preset)}")


@pytest.mark.parametrize("stem", CORRECTED)
def test_a_corrected_twin_differs_in_losses_and_pairing_alone(jobs, stem):
    published = jobs(stem.removesuffix("_corrected"))
    for (theirs, config), (job, corrected) in zip(published, jobs(stem), strict=True):
        assert job == {**theirs, "method": theirs["method"].replace("_muse", "")}
        assert (config["trainer"]["pairing"], corrected["trainer"]["pairing"]) == (
            "modulo",
            "reshuffled",
        )
        assert without_losses(config) == without_losses(corrected)


def without_losses(config):
    """The configuration but for losses, pairing and time; the weight of the retain term stays."""
    trainer = {name: value for name, value in config["trainer"].items() if name != "pairing"}
    weight = (config["method"]["retain"] or {}).get("weight")
    return {**config, "trainer": trainer, "method": weight, "report": None}


@pytest.mark.parametrize("stem", CORRECTED)
def test_published_losses_are_the_code_s_and_corrected_ones_the_papers(jobs, stem):
    for job, config in jobs(stem.removesuffix("_corrected")):
        objective = build_parts(config).method.value
        assert not isinstance(objective.forget, NPO)
        if isinstance(objective.retain, RetainKL):
            wanted = "token_sum" if job.get("optimizer") == "sure" else "raw_logits"
            assert objective.retain.variant == wanted
        assert config["trainer"]["weights"] == "bf16"
    for job, config in jobs(stem):
        objective = build_parts(config).method.value
        assert "muse" not in job["method"]
        assert not isinstance(objective.forget, NPOLogits)
        if isinstance(objective.retain, RetainKL):
            assert objective.retain.variant == "divergence"
        assert config["trainer"]["weights"] == "bf16"


@pytest.mark.parametrize("stem", ["paper_news", "paper_books"])
def test_table_1_has_six_methods_in_full_precision_eight_and_four_bits(jobs, stem):
    wanted = {"method": SIX.split(), "quant": ["none", "llmint8", "fp4"]}
    assert params_of(stem) == wanted
    for _, config in jobs(stem):
        assert config["optimizer"]["lr"] == 1e-5


@pytest.mark.parametrize("stem", ["muse_scalability", "muse_sustainability"])
def test_folds_are_swept_and_training_ends_at_the_control_s_knowmem(jobs, stem):
    assert params_of(stem)["dataset.fold"] == ["1", "2", "3", "4"]
    for _, config in jobs(stem):
        assert config["dataset"]["folds"] == stem.removeprefix("muse_")
        stop = config["trainer"]["stop"]
        assert (stop["memories"], stop["margin"], stop["utility_share"]) == (["knowmem"], 0, 0)


def test_learning_rates_are_swept(jobs):
    rates = {config["optimizer"]["lr"] for _, config in jobs("paper_lr")}
    assert rates == {1e-5, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4}
    for _, config in jobs("paper_lr"):
        trainer = config["trainer"]
        assert (trainer["epochs"], trainer["batch_size"]) == (1, 4)
        assert config["method"]["retain"]["weight"] == 2.0


def test_percentiles_are_swept(jobs):
    found = [config for _, config in jobs("paper_threshold")]
    assert {config["optimizer"]["percentile"] for config in found} == {90.0, 95.0, 99.0}
    assert {config["method"]["retain"]["weight"] for config in found} == {400.0, 20.0}


def test_the_command_line_outranks_a_preset(plain):
    config = plain("+grid=paper_news", "model=hf", "model.path=x", "trainer=smoke")
    assert (config["model"]["path"], config["model"].get("retrain")) == ("x", None)
    assert config["trainer"]["epochs"] == 2
    assert config["dataset"]["path"] == "muse-bench/MUSE-News"


@pytest.mark.parametrize("preset", ["paper_books", "paper_sure", "paper_lr"])
def test_settings_outrank_presets_and_recipes(plain, preset):
    given = ("trainer.epochs=3", "trainer.pairing=reshuffled", "optimizer.lr=0.5")
    config = plain(
        f"+grid={preset}", "method=npo_muse_klr", "optimizer=sure", *given,
        "method.retain.weight=7", "method.retain.variant=divergence", "optimizer.percentile=50",
    )  # fmt: skip
    trainer, optimizer, retain = config["trainer"], config["optimizer"], config["method"]["retain"]
    assert (trainer["epochs"], trainer["pairing"]) == (3, "reshuffled")
    assert (optimizer["lr"], optimizer["percentile"]) == (0.5, 50)
    assert (retain["weight"], retain["variant"]) == (7, "divergence")


def test_a_setting_on_the_command_line_replaces_a_swept_one():
    """Hydra puts a preset's params before the command line; of one name, the last counts."""
    given = OverridesParser.create().parse_overrides(
        [*(f"{name}={','.join(values)}" for name, values in params_of("paper_lr").items()),
         "optimizer.lr=3e-5"]
    )  # fmt: skip
    (batch,) = BasicSweeper.split_arguments(given, None)
    assert len(batch) == 2
    assert all("optimizer.lr=3e-05" in job for job in batch)


@pytest.mark.parametrize("stem", [stem.removesuffix("_corrected") for stem in CORRECTED])
def test_muse_s_metrics_are_as_published(jobs, stem):
    """Also beside further columns: the blank after the cue, and Min-K% over whole texts."""
    for _, values in jobs(stem):
        metrics = values["eval"]["metrics"]
        assert {metrics[name]["answer_cue"] for name in ("knowmem", "utility")} == {"Answer: "}
        assert metrics["min_k"]["num_tokens"] is None
