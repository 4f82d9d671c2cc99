"""Which stages a quantizer adds to the graph."""

import pytest

from tests.test_plan import changed, names, plain_config, stages
from unlearn_lab import plan_quantize
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan import plan

CALIBRATION = {
    "_target_": "unlearn_lab.quantize.calibration.Calibration",
    "source": "retain",
    "num_samples": 4,
    "text": None,
}
GPTQ = {
    "_target_": "unlearn_lab.quantize.gptq.GPTQ",
    "bits": 4,
    "calibration": CALIBRATION,
}


@pytest.fixture
def config():
    return changed(plain_config(GPTQ), "trainer.rounding", "stochastic")


@pytest.fixture
def make(tmp_path):
    return lambda config: plan(config, ContentKey(tmp_path / "digests"))


def count(leaf, name):
    return names(leaf).count(name)


def rtn():
    return {"_target_": "unlearn_lab.quantize.rtn.RTN", "bits": 4}


def rebuilt(make, before, after):
    known = stages(make(before))
    return sorted(stage.name for key, stage in stages(make(after)).items() if key not in known)


def test_a_calibrated_quantizer_is_kept_for_all_three_models_and_draws_its_text_once(config, make):
    leaf = make(config)
    assert (count(leaf, "calibration"), count(leaf, "quantize"), count(leaf, "evaluate")) == (
        *(1, 3, 6),
    )
    record = leaf.record.inputs
    for who, model in (("unlearned", "unlearn"), ("target", "target"), ("retrain", "retrain")):
        quantized = record[f"{who}.quantized"].inputs["quantized"]
        assert quantized.inputs["model"] == record[model]
        assert quantized.params["weights"] == "bf16"
    assert record["quantize"] == record["unlearned.quantized"].inputs["quantized"]
    assert record["codes"].inputs["unlearned.quantized"] == record["quantize"]


def test_another_calibration_rebuilds_what_is_quantized_and_trains_nothing(config, make):
    after = changed(config, "quant.calibration.source", "forget")
    assert rebuilt(make, config, after) == sorted(
        ["calibration", *["quantize"] * 3, *["evaluate"] * 3, "codes", "record"]
    )


def test_bits_share_the_calibration_text(config, make):
    assert "calibration" not in rebuilt(make, config, changed(config, "quant.bits", 8))


KEPT = [*["quantize"] * 3, *["evaluate"] * 3, "record"]
GGUF = {"_target_": "unlearn_lab.quantize.gguf.GGUF", "format": "q4_0"}
BNB = {"_target_": "unlearn_lab.quantize.bnb.BNB8"}
LLMINT8 = {"_target_": "unlearn_lab.quantize.llmint8.LLMInt8", "threshold": 6.0}


@pytest.mark.parametrize(
    ("quant", "export", "library", "rebuilt"),
    [
        (GPTQ, False, "llmcompressor", [*KEPT, "codes"]),
        (GPTQ, False, "compressed-tensors", [*KEPT, "codes"]),
        (GPTQ, False, "gptqmodel", []),
        (GPTQ, "gptq", "gptqmodel", ["export", "record"]),
        (BNB, False, "bitsandbytes", [*["evaluate"] * 3, "codes", "record"]),
        (LLMINT8, False, "bitsandbytes", [*["evaluate"] * 3, "codes", "record"]),
        (GGUF, False, "gguf", [*["evaluate"] * 3, "codes", "record"]),
        (GGUF, False, "bitsandbytes", []),
        (rtn(), False, "compressed-tensors", []),
        (rtn(), True, "compressed-tensors", KEPT),
    ],
)
def test_the_versions_of_the_libraries_that_run_are_part_of_the_keys(
    config, make, monkeypatch, quant, export, library, rebuilt
):
    asked = config | {"quant": quant, "export": export}
    before = stages(make(asked))
    real = plan_quantize.installed
    monkeypatch.setattr(
        plan_quantize, "installed", lambda name: "newer" if name == library else real(name)
    )
    after = stages(make(asked))
    built = [stage.name for key, stage in after.items() if key not in before]
    assert sorted(built) == sorted(rebuilt)


def test_export_of_what_is_kept_anyway_changes_no_stage(config, make):
    assert rebuilt(make, config, changed(config, "export", True)) == []
    assert rebuilt(make, config, changed(config, "export", "compressed-tensors")) == []


def test_export_of_what_is_rounded_on_load_keeps_it_and_evaluates_that(config, make):
    before = config | {"quant": rtn()}
    after = before | {"export": True}
    assert count(make(before), "quantize") == 0
    assert rebuilt(make, before, after) == sorted([*["quantize"] * 3, *["evaluate"] * 3, "record"])


@pytest.mark.parametrize("quant", [GPTQ, rtn()])
def test_another_format_is_written_from_the_kept_model(config, make, quant):
    leaf = make(config | {"quant": quant, "export": "gptq"})
    export = leaf.record.inputs["export"]
    assert export.params["format"] == "gptq"
    assert export.inputs["quantized"] == leaf.record.inputs["quantize"]


def test_a_gguf_file_is_written_from_the_unlearned_model(config, make):
    leaf = make(config | {"quant": GGUF, "export": True})
    assert leaf.record.inputs["export"].inputs == {"model": leaf.unlearn}
    assert count(leaf, "quantize") == 0


def test_a_model_quantized_by_somebody_else_is_keyed_by_its_content(config, make, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    quant = {
        "_target_": plan_quantize.PREQUANTIZED,
        "unlearned": str(folder),
        "target": None,
        "retrain": None,
    }
    first = make(config | {"quant": quant})
    assert (count(first, "quantize"), count(first, "evaluate")) == (1, 4)
    assert "target.quantized" not in first.record.inputs
    (folder / "config.json").write_text("{} ")
    assert make(config | {"quant": quant}).record.key != first.record.key


def test_hub_texts_are_pinned_and_local_ones_keyed_by_content(config, make, tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("{}")
    text = {"_target_": "unlearn_lab.data.texts.HubTexts", "path": str(file), "revision": None}
    quant = {**GPTQ, "calibration": {**CALIBRATION, "source": "generic", "text": text}}
    first = make(config | {"quant": quant})
    file.write_text("{} ")
    assert make(config | {"quant": quant}).record.key != first.record.key
    gone = {**text, "path": "someone/texts"}
    quant = {**GPTQ, "calibration": {**CALIBRATION, "source": "generic", "text": gone}}
    with pytest.raises(ValueError, match=r"generic_text.path=someone/texts: not a folder"):
        make(config | {"quant": quant})


def test_only_llmint8_is_evaluated_again_with_other_batches(tmp_path):
    def leaf(target, batch_tokens):
        config = plain_config({"_target_": f"unlearn_lab.quantize.{target}"})
        config["runtime"] = {"batch_tokens": batch_tokens}
        return plan(config, ContentKey(tmp_path / "digests"))

    for target, same in (("llmint8.LLMInt8", False), ("bnb.BNB8", True)):
        one, other = leaf(target, 100), leaf(target, 200)
        assert (one.record.key == other.record.key) == same
        for name in ("unlearned.full", "target.full"):
            assert one.record.inputs[name].key == other.record.inputs[name].key


def test_a_changed_file_of_another_corpus_is_another_calibration(config, make, tmp_path):
    """Another corpus may be one of the user's own, which is read again when it has changed."""
    file = tmp_path / "texts.json"
    file.write_text('["one"]')
    corpus = {"_target_": "unlearn_lab.data.custom.CustomCorpus", "forget": str(file)}
    text = {"_target_": "unlearn_lab.data.texts.CorpusTexts", "corpus": corpus}
    drawn = changed(config, "quant.calibration.text", text)
    before = make(drawn).calibration
    file.write_text('["one", "two"]')
    assert make(drawn).calibration.key != before.key
