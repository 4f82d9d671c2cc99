"""TOFU from its files to verdicts, by its own metrics, on the embedded model."""

import json

import pytest

from tests.data.tofu_files import pair, write
from tests.e2e.artifacts import SMALL_MODEL, built

ASKED = (
    "dataset=tofu",
    "dataset.authors=1",
    "dataset.retain_authors=2",
    "eval.num_items=3",
    "eval.num_tokens=6",
    "trainer=smoke",
    "trainer.batch_size=4",
    "finetune.batch_size=4",
    "runtime.threads=1",
    "runtime.claim_look=0.05",
    "report.wandb.mode=disabled",
    *SMALL_MODEL,
)
METRICS = (
    "forget_probability",
    "forget_rouge",
    "forget_truth_ratio",
    "exact_memorisation",
    "extraction_strength",
    "model_utility",
)


@pytest.fixture
def tofu(lab, tmp_path):
    folder, home = write(tmp_path / "tofu"), tmp_path / "lab"

    def run(*arguments):
        given = (*ASKED, f"dataset.path={folder}", f"runtime.home={home}")
        return lab(*given, *arguments, small=False, home=home)

    return run


def test_a_sweep_is_judged_by_the_metrics_of_tofu(tofu):
    run = tofu("-m", "method=npo_klr", "quant=none,rtn4")
    assert run.status == 0, run.err
    assert built(run.home)["retrain"] == 1
    for record in run.records:
        for metric in METRICS:
            assert 0 <= record[f"scores.unlearned.full.{metric}"] <= 100
        assert record["items.forget_probability"] == 3
        assert record["effective.template"] == "plain"  # the tokenizer has no template
        assert record["items.model_utility"] == 9
        # the control is not distinguishable from itself
        control = "scores.retrain.full.forget_quality"
        assert (record[control], record[f"{control}_log10"]) == (1, 0)
        assert record[f"{control}_distance"] == 0
        assert record["skipped.min_k"] == "the corpus has no holdout documents"
        assert record["config.eval.memories"] == ["forget_probability", "forget_rouge"]
        assert "scores.unlearned.full.verbmem" not in record
        quantized = record["quant"] == "rtn4"
        assert (record["recovery.forget_rouge.delta"] is not None) == quantized
    for heading in ("Probability", "ROUGE", "Model utility", "Forget quality", "log10 of its p"):
        assert heading in " ".join(run.out.split())
    assert "forget quality distance" not in run.out
    assert "Not measured: PrivLeak (the corpus has no holdout documents)" in run.out
    page = (run.home / "results" / "report.html").read_text()
    assert "<th>Model utility</th>" in page
    assert "VerbMem" not in page


@pytest.mark.slow
def test_a_stop_rule_and_a_search_go_by_its_metrics(tofu):
    stopped = tofu("method=ga", "quant=rtn4", "trainer/stop=forgotten", "trainer.epochs=3",
                   "trainer.stop.margin=100", "trainer.stop.utility_share=0")  # fmt: skip
    assert stopped.status == 0, stopped.err
    (record,) = stopped.records
    assert record["stopped_epoch"] == 1
    assert "forgotten in epoch 1: forget_probability" in record["stopped_because"]
    tuned = tofu("-m", "method=ga_gdr", "quant=rtn4", "+grid=tune_tiny", "hydra.sweeper.n_trials=1",
                 "trainer.epochs=1", "optimizer.lr=1e-5,1e-4")  # fmt: skip
    assert tuned.status == 0, tuned.err
    assert "best:" in tuned.out


def test_the_metrics_of_muse_have_nothing_to_measure(refusing_lab, tmp_path):
    folder = write(tmp_path / "tofu")
    settings = [setting for setting in ASKED if not setting.startswith("eval.")]
    run = refusing_lab(
        *settings,
        f"dataset.path={folder}",
        f"runtime.home={tmp_path}/lab",
        "eval=muse",
        small=False,
    )
    assert run.status == 2
    assert "nothing can be measured" in run.err


@pytest.mark.slow
def test_a_user_s_own_questions_go_the_same_way(lab, tmp_path):
    folder, home = tmp_path / "own", tmp_path / "lab"
    folder.mkdir()
    for split, author in (("forget", "Ada"), ("retain", "Bob")):
        rows = [pair(author, number) for number in range(8)]
        (folder / f"{split}_questions.json").write_text(json.dumps(rows))
    settings = [setting for setting in ASKED if not setting.startswith("dataset")]
    run = lab(
        *settings, "dataset=custom", f"dataset.path={folder}", "eval=questions", "method=npo_gdr",
        "quant=rtn4", f"runtime.home={home}", small=False, home=home,
    )  # fmt: skip
    assert run.status == 0, run.err
    (record,) = run.records
    assert record["config.eval.utility"] == "retain_rouge"
    assert record["items.retain_rouge"] == 3
    assert 0 <= record["scores.unlearned.quantized.retain_rouge"] <= 100
    assert "scores.retrain.full.forget_quality" not in record  # no wrong answers
