"""What a preset's jobs would record stands beside every published row that it is there for."""

from copy import deepcopy

import pytest

from tests.presets import combinations, composed_job, overrides_of
from unlearn_lab.published.__main__ import compared
from unlearn_lab.record.record_stage import labelled

FURTHER = ("gen", "tru", "fac", "flu")
SHARE = "recovery.verbmem.recovered_share"
KEPT = (
    "model", "dataset", "generic_text", "method", "optimizer", "trainer", "finetune", "quant",
    "eval", "runtime", "report", "seed", "export",
)  # fmt: skip


def spliced(stem, job, *overrides):
    """A job's values and choices: those of its method, and those of its quantizer in its place."""
    rest = {name: value for name, value in job.items() if name != "quant"}
    values, choices = composed_job(stem, *overrides_of(rest), *overrides)
    of_quant, chosen = composed_job(stem, f"quant={job['quant']}")
    return values | {"quant": of_quant["quant"]}, choices | {"quant": chosen["quant"]}


def whole(stem, job, *overrides):
    return composed_job(stem, *overrides_of(job), *overrides)


@pytest.fixture(params=[spliced, pytest.param(whole, marks=pytest.mark.slow)])
def would_record(request, make_record):
    """The records of a preset's jobs: their real settings, with scores of no training."""

    def make(preset, *overrides):
        return [one(*request.param(preset, job, *overrides)) for job in combinations(preset)]

    def one(values, choices):
        scored = make_record(quant=choices["quant"])
        row = {
            key: value
            for key, value in scored.items()
            if key.startswith(("scores.", "recovery.", "run_id"))
        } | {"effective.batch": values["trainer"]["batch_size"], SHARE: 0.5}
        for precision in ("full", "quantized"):
            row |= {f"scores.unlearned.{precision}.{name}": 1.0 for name in FURTHER}
        return labelled(row, {key: deepcopy(values[key]) for key in KEPT}, choices)

    return make


@pytest.mark.parametrize("form", ["", pytest.param("_corrected", marks=pytest.mark.slow)])
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


@pytest.mark.slow
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
