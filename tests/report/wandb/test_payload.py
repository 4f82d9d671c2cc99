"""What a W&B run holds."""

from unlearn_lab.report.wandb.payload import (
    better_of,
    config_of,
    flip_table,
    layer_table,
    sample_table,
    summary_of,
    tags_of,
)


def test_config_is_nested_and_holds_choices_and_the_whole_id(make_record):
    record = make_record()
    config = config_of(record)
    assert config["optimizer"] == {"lr": 6e-05}
    assert config["method"] == {
        "_target_": "unlearn_lab.unlearn.npo_gdr", "beta": 0.1, "retain": {"weight": 1.0}
    }  # fmt: skip
    assert config["choices"] == {
        "model": "tiny", "dataset": "gazette", "method": "npo_gdr", "optimizer": "adamw",
        "quant": "rtn4", "seed": 0,
    }  # fmt: skip
    assert config["record"]["run_id"] == record["run_id"]
    assert len(config["record"]["run_id"]) == 64


def test_secrets_stay_at_home(make_record):
    record = make_record(config__report__wandb__api_key="s3cret", config__model__token="s3cret")
    assert "s3cret" not in str(config_of(record))
    assert "tokenizer" in str(config_of(make_record(config__model__tokenizer="x")))


def test_summary_paths_are_the_records_keys(make_record):
    summary = summary_of(make_record())
    assert summary["scores"]["unlearned"]["quantized"]["verbmem"] == 71.3
    assert summary["scores"]["unlearned"]["quantized"]["verbmem_low"] == 68.3
    assert summary["recovery"]["verbmem"]["delta"] > 67
    assert summary["codes"]["flip_rate"] == 0.031
    assert summary["stopped_epoch"] == 12


def test_null_figures_are_left_out(make_record):
    summary = summary_of(make_record(quant="none"))
    assert "quantized" not in summary["scores"]["unlearned"]
    assert "recovery" not in summary
    assert "update_kept" not in summary["codes"]


def test_scores_have_a_direction_and_runs_have_tags(make_record):
    record = make_record(quant="none") | {"verdict": "forgotten", "model": "m" * 80}
    better = better_of(record)
    assert better == {
        "scores.unlearned.full.verbmem": "min",
        "scores.unlearned.full.knowmem": "min",
        "scores.unlearned.full.utility": "max",
    }
    assert tags_of(record) == ("forgotten", "m" * 64, "gazette")


def test_tables_have_one_type_a_column():
    columns, rows = layer_table({"a": {"flip_rate": 0.5}, "b": {}})
    assert columns[:2] == ["layer", "flip_rate"]
    assert rows == [["a", 0.5, None, None, None, None], ["b", None, None, None, None, None]]
    columns, rows = flip_table({"8": {"a": {"flip_rate": 0.5}}, "4": {"a": {}, "b": {}}})
    assert columns == ["layer", "4 bits", "8 bits"]
    assert rows == [["a", None, 0.5], ["b", None, None]]
    common = {"metric": "verbmem", "who": "unlearned", "asked": "who?", "true": "Ada"}
    samples = [
        {**common, "precision": "full", "answer": None, "score": 3},
        {**common, "precision": "quantized", "answer": "Ada", "score": 100},
        {**common, "asked": "where?", "precision": "full", "answer": "there", "score": 0},
    ]
    columns, rows = sample_table(samples)
    first, second = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (first["answer (full)"], first["answer (quantized)"]) == ("-", "Ada")
    assert (first["score (full)"], first["score (quantized)"]) == (3.0, 100.0)
    assert (second["answer (full)"], second["answer (quantized)"]) == ("there", None)


def test_the_summary_tells_the_verdict_and_the_corpus_in_words(make_record):
    record = make_record() | {
        "verdict": "comes back",
        "verdict_reason": "VerbMem rises",
        "corpus.repeats": "twice",
    }
    summary = summary_of(record)
    assert summary["verdict"] == "comes back"
    assert summary["verdict_reason"] == "VerbMem rises"
    assert summary["corpus"] == {"repeats": "twice"}
