"""What a preset's jobs would record stands beside every published row that it is there for."""

from itertools import product

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unlearn_lab.config.paths import data_dir
from unlearn_lab.published.__main__ import compared
from unlearn_lab.record.record_stage import labelled

FURTHER = ("gen", "tru", "fac", "flu")
SHARE = "recovery.verbmem.recovered_share"


@pytest.fixture
def would_record(composed, make_record):
    """The records of a preset's jobs: their real settings, with scores of no training."""

    def make(preset, *overrides):
        with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
            whole = compose("config", [f"+grid={preset}"], return_hydra_config=True)
            params = {k: str(v).split(",") for k, v in whole.hydra.sweeper.params.items()}
            return [
                one(f"+grid={preset}", *(f"{k}={v}" for k, v in job), *overrides)
                for values in product(*params.values())
                for job in [tuple(zip(params, values, strict=True))]
            ]

    def one(*overrides):
        config = compose("config", list(overrides), return_hydra_config=True)
        choices = dict(config.hydra.runtime.choices)
        scored = make_record(quant=choices["quant"])
        row = {
            key: value
            for key, value in scored.items()
            if key.startswith(("scores.", "recovery.", "run_id"))
        } | {"effective.batch": config.trainer.batch_size, SHARE: 0.5}
        for precision in ("full", "quantized"):
            row |= {f"scores.unlearned.{precision}.{name}": 1.0 for name in FURTHER}
        plain = OmegaConf.to_container(OmegaConf.masked_copy(config, sorted(KEPT)), resolve=True)
        return labelled(row, plain, choices)

    return make


KEPT = {
    "model", "dataset", "generic_text", "method", "optimizer", "trainer", "finetune", "quant",
    "eval", "runtime", "report", "seed", "export",
}  # fmt: skip


@pytest.mark.parametrize("form", ["", "_corrected"])
@pytest.mark.parametrize("table", ["paper_news", "paper_books", "paper_sure", "paper_quantizers"])
def test_every_published_row_has_a_record_in_the_published_setting(would_record, table, form):
    comparison = compared(f"{table}{form}", would_record(f"{table}{form}"), any_model=False)
    for line in comparison.lines:
        for cell in line.cells:
            assert cell.ours is not None, (line.row, line.quant, cell.metric)
    told = " ".join(comparison.notes)
    assert "No record" not in told
    assert "Several settings" not in told
    assert "Another setting" not in told, told


def test_muse_s_leaderboard_is_not_taken_from_folds(would_record):
    """Without folds nothing differs; a fold is told as another setting."""
    plain = would_record("paper_news", "trainer=muse_news")
    comparison = compared("muse_news_leaderboard", plain, any_model=False)
    lines = {line.row: line for line in comparison.lines}
    assert all(lines[row].cells[0].ours for row in lines if row not in ("task vector", "WHP"))
    assert not any("Another setting" in note for note in comparison.notes)
    folds = would_record("muse_scalability")
    told = " ".join(compared("muse_news_leaderboard", folds, any_model=False).notes)
    assert "config.dataset.folds=scalability (published: None)" in told


def test_a_published_preset_s_records_are_no_corrected_rows(would_record):
    comparison = compared("paper_books_corrected", would_record("paper_books"), any_model=False)
    found = {line.row for line in comparison.lines if line.cells[0].ours is not None}
    assert found == {"target", "retrain", "GA", "GA_GDR"}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("trainer/adapter=lora", "config.trainer.adapter=unlearn_lab.unlearn.training.lora.LoRA"),
        ("trainer/stop=utility", "config.trainer.stop._target_=unlearn_lab.evaluate.stop."),
    ],
)
def test_adapters_and_an_early_stop_are_told(would_record, override, told):
    records = would_record("paper_news", override, "hydra.sweeper.params.quant=fp4")
    notes = " ".join(compared("paper_news", records, any_model=False).notes)
    assert told in notes
    assert " in GA, GA_GDR, GA_KLR, NPO, NPO_GDR, NPO_KLR." in notes
