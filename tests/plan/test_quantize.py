"""Which stages a quantizer adds to the graph."""

import pytest

from tests.plan.test_corpora import own_corpus
from tests.plan.test_job_graph import RTN, changed, names, plain_config, stages
from unlearn_lab.config.build import Part
from unlearn_lab.config.libraries import version_of
from unlearn_lab.config.paths import data_dir
from unlearn_lab.execute.parts import build_parts
from unlearn_lab.graph import code
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.distributions import required_by
from unlearn_lab.plan.job_graph import plan

CALIBRATION = {
    "_target_": "unlearn_lab.quantize.calibration.Calibration",
    "source": "retain",
    "num_samples": 4,
    "length": 8,
    "seed": 0,
    "text": None,
}
GPTQ = {
    "_target_": "unlearn_lab.quantize.gptq.GPTQ",
    "bits": 4,
    "group_size": 128,
    "symmetric": True,
    "act_order": True,
    "dampening": 0.01,
    "block_size": 128,
    "calibration": CALIBRATION,
}
GGUF = {"_target_": "unlearn_lab.quantize.gguf.GGUF", "format": "q4_0"}
BNB = {"_target_": "unlearn_lab.quantize.bnb.BNB8"}
LLMINT8 = {"_target_": "unlearn_lab.quantize.llmint8.LLMInt8", "threshold": 6.0}


@pytest.fixture
def config():
    return changed(plain_config(GPTQ), "trainer.rounding", "stochastic")


@pytest.fixture
def make(tmp_path):
    return lambda config: plan(build_parts(config), config, ContentKey(tmp_path / "digests"))


def count(leaf, name):
    return names(leaf).count(name)


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
ON_LOAD = [*["evaluate"] * 3, "codes", "record"]


@pytest.mark.parametrize(
    ("quant", "export", "library", "rebuilt"),
    [
        (GPTQ, False, "llmcompressor", [*KEPT, "codes"]),
        (GPTQ, False, "compressed-tensors", [*KEPT, "codes"]),
        (GPTQ, False, "gptqmodel", []),
        (GPTQ, "gptq", "gptqmodel", ["export", "record"]),
        (BNB, False, "bitsandbytes", ON_LOAD),
        (LLMINT8, False, "bitsandbytes", ON_LOAD),
        (GGUF, False, "gguf", ON_LOAD),
        (GGUF, True, "gguf", [*ON_LOAD, "export"]),
        (GGUF, False, "bitsandbytes", []),
        (RTN, False, "compressed-tensors", []),
        (RTN, True, "compressed-tensors", KEPT),
        (RTN, "awq", "gptqmodel", ["export", "record"]),
    ],
)
def test_the_versions_of_the_libraries_that_run_are_part_of_the_keys(
    config, make, monkeypatch, quant, export, library, rebuilt
):
    asked = config | {"quant": quant, "export": export}
    before = stages(make(asked))
    newer(monkeypatch, library)
    after = stages(make(asked))
    built = [stage.name for key, stage in after.items() if key not in before]
    assert sorted(built) == sorted(rebuilt)


def newer(monkeypatch, library):
    """Makes a library be of another version than it is."""
    monkeypatch.setattr(
        "unlearn_lab.plan.pinned.version_of",
        lambda name: "newer" if name == library else version_of(name),
    )


GROUPS = ("quant", "eval", "trainer/adapter")
OPTIONS = [
    f"{group}={path.stem}"
    for group in GROUPS
    for path in sorted((data_dir("conf") / group).glob("*.yaml"))
]


def walk(part):
    yield part
    for inner in part.inner.values():
        yield from walk(inner)


def undeclared(module, libraries):
    """What a part's code imports and its `libraries` do not bring, with the module."""
    found = code.distributions(code.closure(module).values(), ("unlearn_lab",))
    known = required_by(tuple(libraries))
    return {name: where.name for name, where in found.items() if name not in known}


def filled(node):
    """The node with a hub's name for each value that must be given."""
    if isinstance(node, dict):
        return {name: filled(inner) for name, inner in node.items()}
    return "someone/model" if node == "???" else node


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_declares_its_libraries_and_each_version_is_in_the_key(
    plain, make, monkeypatch, option
):
    monkeypatch.setattr("unlearn_lab.graph.content.hub_commit", lambda *_: "0" * 40)
    config = filled(plain(option))
    parts = build_parts(config)
    tops = [one for one in vars(parts).values() if isinstance(one, Part)]
    every = [one for top in (*tops, *parts.metrics.values()) for one in walk(top)]
    declared = {one.module: getattr(one.value, "libraries", ()) for one in every}
    for module, libraries in declared.items():
        if not module.startswith("torch."):
            assert undeclared(module, libraries) == {}
    before = make(config).record.key
    for library in {name for libraries in declared.values() for name in libraries}:
        newer(monkeypatch, library)
        assert make(config).record.key != before, library


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("quantize.awq", "llmcompressor"),
        ("quantize.bnb", "bitsandbytes"),
        ("quantize.gguf", "gguf"),
        ("quantize.gptq", "llmcompressor"),
        ("quantize.llmint8", "bitsandbytes"),
        ("quantize.prequantized", "compressed-tensors"),
        ("evaluate.harness", "lm-eval"),
        ("unlearn.training.lora", "peft"),
    ],
)
def test_a_library_that_is_not_declared_would_be_found(module, library):
    assert library in undeclared(f"unlearn_lab.{module}", ())


def test_export_of_what_is_kept_anyway_changes_no_stage(config, make):
    assert rebuilt(make, config, changed(config, "export", True)) == []
    assert rebuilt(make, config, changed(config, "export", "compressed-tensors")) == []


def test_export_of_what_is_rounded_on_load_keeps_it_and_evaluates_that(config, make):
    before = config | {"quant": RTN, "export": False}
    after = config | {"quant": RTN, "export": True}
    assert count(make(before), "quantize") == 0
    assert rebuilt(make, before, after) == sorted(KEPT)


@pytest.mark.parametrize("quant", [GPTQ, RTN])
def test_another_format_is_written_from_the_kept_model(config, make, quant):
    leaf = make(config | {"quant": quant, "export": "gptq"})
    export = leaf.record.inputs["export"]
    assert export.params["format"] == "gptq"
    assert export.inputs["quantized"] == leaf.record.inputs["quantize"]


@pytest.mark.parametrize("export", [True, "gguf"])
def test_a_gguf_file_is_written_from_the_unlearned_model(config, make, export):
    leaf = make(config | {"quant": GGUF, "export": export})
    assert leaf.record.inputs["export"].inputs == {"model": leaf.unlearn}
    assert count(leaf, "quantize") == 0


def test_a_model_quantized_by_somebody_else_is_keyed_by_its_content(config, make, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    quant = {
        "_target_": "unlearn_lab.quantize.prequantized.Prequantized",
        "unlearned": str(folder),
        "target": None,
        "retrain": None,
    }
    first = make(config | {"quant": quant})
    assert (count(first, "quantize"), count(first, "evaluate")) == (1, 4)
    assert "target.quantized" not in first.record.inputs
    given = first.record.inputs["quantize"].depends["files"]
    assert {name: len(digest) for name, digest in given.items()} == {"quant.unlearned": 64}
    (folder / "config.json").write_text("{} ")
    assert make(config | {"quant": quant}).record.key != first.record.key


def test_hub_texts_are_pinned_and_local_ones_keyed_by_content(config, make, tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("{}")
    text = {
        "_target_": "unlearn_lab.data.texts.HubTexts",
        "path": str(file),
        "name": None,
        "split": "train",
        "column": "text",
        "revision": None,
        "num_rows": None,
    }
    quant = {**GPTQ, "calibration": {**CALIBRATION, "source": "generic", "text": text}}
    first = make(config | {"quant": quant})
    file.write_text("{} ")
    assert make(config | {"quant": quant}).record.key != first.record.key
    gone = {**text, "path": "someone/texts"}
    quant = {**GPTQ, "calibration": {**CALIBRATION, "source": "generic", "text": gone}}
    with pytest.raises(ValueError, match=r"generic_text.path=someone/texts: not a folder"):
        make(config | {"quant": quant})


@pytest.mark.parametrize(("quant", "same"), [(LLMINT8, False), (BNB, True)])
def test_only_llmint8_is_evaluated_again_with_other_batches(make, quant, same):
    one, other = (
        make(changed(plain_config(quant), "runtime.batch_tokens", tokens)) for tokens in (100, 200)
    )
    assert (one.record.key == other.record.key) == same
    for name in ("unlearned.full", "target.full"):
        assert one.record.inputs[name].key == other.record.inputs[name].key


def test_a_changed_file_of_another_corpus_is_another_calibration(config, make, tmp_path):
    """Another corpus may be one of the user's own, which is read again when it has changed."""
    file = tmp_path / "texts.json"
    file.write_text('["one"]')
    corpus = own_corpus(forget=str(file), retain=str(file), holdout=str(file))
    text = {"_target_": "unlearn_lab.data.texts.CorpusTexts", "corpus": corpus}
    drawn = changed(config, "quant.calibration.text", text)
    before = make(drawn).calibration
    file.write_text('["one", "two"]')
    assert make(drawn).calibration.key != before.key
