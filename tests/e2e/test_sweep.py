import json
import re

import pytest

from tests.e2e.artifacts import built, stamps
from unlearn_lab.record.results import read_records, read_sweeps

HEADLINE = ("-m", "method=ga,npo", "quant=rtn4,rtn8", "report.html=true")


def test_a_dry_sweep_builds_nothing(lab):
    planned = lab("-m", "dry=true", "method=ga,npo", small=False)
    assert planned.status == 0, planned.err
    assert "plan: 2 jobs" in planned.out
    assert not list(planned.home.glob("cache/*/*"))


def test_the_headline_command_trains_each_method_once_and_again_builds_nothing(lab):
    first = lab(*HEADLINE)
    assert first.status == 0, first.err
    stages = {
        "corpus": 1,
        "base": 1,
        "target": 1,
        "retrain": 1,
        "unlearn": 2,
        "codes": 4,
        "widths": 2,
        "evaluate": 12,
        "record": 4,
    }
    assert built(first.home) == stages
    kept, before = first.records, stamps(first.home)
    assert len(kept) == 4
    second = lab(*HEADLINE)
    assert second.status == 0
    assert stamps(second.home) == before
    assert second.records == kept
    ids = {record["run_id"] for record in read_records(second.home)}
    assert list(read_sweeps(second.home).values()) == [ids, ids]
    for word in (
        "method",
        "VerbMem",
        "KnowMem",
        "Utility",
        "PrivLeak",
        "target",
        "retrain",
        "records:",
        "report:",
    ):
        assert word in second.out
    assert re.search(r"unlearn +0 +2 ", second.out)
    assert (second.home / "results" / "report.html").exists()


def test_a_record_holds_what_the_interface_promises(lab):
    record = lab("method=npo_gdr", "quant=rtn4").records[-1]
    assert (record["model"], record["dataset"], record["method"]) == ("tiny", "gazette", "npo_gdr")
    assert (record["optimizer"], record["quant"], record["seed"]) == ("adamw", "rtn4", 0)
    for who in ("unlearned", "target", "retrain"):
        for precision in ("full", "quantized"):
            for metric in ("verbmem", "knowmem", "privleak", "utility", "auc"):
                for end in ("", ".low", ".high"):
                    assert isinstance(record[f"scores.{who}.{precision}.{metric}{end}"], float)
    for metric in ("verbmem", "knowmem"):
        for name in ("delta", "retained_full", "retained_quantized", "recovered_share", "excess"):
            assert f"recovery.{metric}.{name}" in record
    for name in ("flip_rate", "moved", "cannot_move", "zero_bin", "relative_step"):
        assert f"codes.{name}" in record
    assert record["effective.weights"] == "bf16"
    assert record["effective.optimizer_state"] == "bfloat16"
    assert record["effective.batch"] == 4
    assert record["effective.processor"].endswith("1 threads")
    assert "4 bits" in record["effective.quantizer"]
    assert record["config.method.retain.weight"] >= 0
    assert record["config.optimizer.lr"] > 0
    assert record["items.knowmem"] == 3
    assert record["scores.retrain.full.privleak"] == 0
    assert record["stopped_epoch"] == 2
    for name in ("target", "retrain", "unlearn"):
        assert len(record[f"stages.{name}"]) == 64
        assert record[f"seconds.{name}"] > 0


@pytest.mark.slow
@pytest.mark.prepared
def test_side_files_are_where_the_record_says(lab):
    run = lab("method=ga", "quant=rtn4")
    record = run.records[-1]
    layers = json.loads((run.home / record["layers"]).read_text())["layers"]
    assert len(layers) == 14
    assert all("flip_rate" in figures for figures in layers.values())
    samples = json.loads((run.home / record["samples"]).read_text())
    assert {sample["metric"] for sample in samples} == {"verbmem", "knowmem", "utility"}
    assert all(sample["true"] for sample in samples)


@pytest.mark.slow
def test_progress_tells_the_stage_of_how_many_and_verbose_tells_more(lab):
    arguments = ("method=ga", "quant=none")
    plain = lab(*arguments)
    assert re.search(r"^\[5/11\] unlearn [0-9a-f]{8} \.\.\.$", plain.err, re.MULTILINE)
    assert re.search(r"^\[5/11\] unlearn [0-9a-f]{8}: \d", plain.err, re.MULTILINE)
    assert len(plain.err.splitlines()) < 30
    again = lab(*arguments, "trainer.epochs=1", "hydra.verbose=true")
    assert re.search(r"target [0-9a-f]{8} reused", again.err)
    assert not re.search(r"target [0-9a-f]{8} reused", lab(*arguments, "trainer.epochs=1").err)


@pytest.mark.slow
@pytest.mark.prepared
def test_without_a_quantizer_nothing_is_said_about_recovery(lab):
    run = lab("method=ga", "quant=none")
    record = run.records[-1]
    assert record["recovery.verbmem.delta"] is None
    assert record["codes.flip_rate"] is None
    assert record["codes.moved"] is not None
    assert not any(key.startswith("scores.unlearned.quantized") for key in record)
    assert built(run.home)["evaluate"] == 3


@pytest.mark.slow
def test_a_crash_between_stages_costs_only_what_was_not_finished(lab):
    lab("method=ga", "quant=rtn4")
    before = stamps(lab("method=ga", "quant=rtn4").home)
    after = stamps(lab("method=ga", "quant=rtn4,rtn8", "-m").home)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 5


@pytest.mark.prepared
def test_one_failed_leaf_leaves_the_others_and_says_why(lab):
    run = lab("-m", "method=ga", "optimizer.lr=1e-4,1e30", "quant=rtn4")
    assert run.status == 1
    assert "1 done, 1 failed" in run.out
    assert re.search(
        r"failed: .*\n.*unlearn .*became (nan|inf|-inf) at step \d+; last good values", run.out
    )
    assert "Traceback" not in run.err + run.out
    again = lab("-m", "method=ga", "optimizer.lr=1e-4,1e30", "quant=rtn4")
    assert again.status == 1


@pytest.mark.prepared
def test_the_stop_rule_of_muse_ends_training_early(lab):
    """The untrained control has utility 0, which no epoch can fall below."""
    run = lab("method=ga", "quant=none", "trainer/stop=utility", "trainer.epochs=4")
    assert run.status == 0, run.err
    assert run.records[-1]["stopped_because"] == "end of the budget"
    assert run.records[-1]["stopped_epoch"] == 4


@pytest.mark.slow
def test_fine_tuning_a_local_model_of_ones_own(lab, checkpoint):
    run = lab(
        "model=hf",
        f"model.path={checkpoint}",
        "trainer.max_length=64",
        "eval.metrics.min_k.num_tokens=40",
        "method=ga_klr",
        "trainer.trainable=all",
        "quant=rtn4",
    )
    assert run.status == 0, run.err
    assert run.records[-1]["model"] == "hf"
    assert built(run.home)["target"] == 1


def test_models_that_know_the_corpus_already_are_taken_as_they_are(lab, checkpoint):
    arguments = [
        "model=hf",
        f"model.path={checkpoint}",
        "model.finetune=false",
        f"model.retrain={checkpoint}",
    ]
    run = lab(
        *arguments,
        "eval.metrics.min_k.num_tokens=40",
        "trainer.max_length=64",
        "method=npo_klr",
        "quant=rtn8",
    )
    assert run.status == 0, run.err
    target = next((run.home / "cache" / "target").glob("*/"))
    assert {path.name for path in target.iterdir()} == {"manifest.json", "pointer.json"}


@pytest.mark.prepared
@pytest.mark.parametrize("mode", [pytest.param("offline", marks=pytest.mark.slow), "auto"])
def test_results_reach_wandb_offline_without_an_account(lab, mode):
    run = lab("method=ga", "quant=rtn4", f"report.wandb.mode={mode}")
    assert run.status == 0
    assert "wandb sync" in run.out
    assert list((run.home / "wandb").glob("offline-run-*/*.wandb"))
