"""Models that were unlearned elsewhere, as people have them: what is taken, and what is refused."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.unlearn.shared_training import RUNTIME
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.stored import FILE
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage
from unlearn_lab.models.given import GivenModel, UnknownUpdate
from unlearn_lab.models.given_stage import build
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.models.stored import adapter_settings, stored_dtype
from unlearn_lab.plan.protocols import FinishedUnlearning

SPLITS = {"forget": ("w3 w4 w5", "w6 w7"), "retain": ("w8 w9",), "holdout_documents": ("w10",)}
CORPUS = Corpus(**{field.name: () for field in dataclasses.fields(Corpus)[:9]} | SPLITS)


def artifact(path):
    stage = Stage(name="corpus", builder="a:b", version=1, params={})
    return Artifact(stage=stage, path=path, facts={"remarks": {}}, seconds=0.0, built_now=False)


@pytest.fixture
def given(checkpoint, tmp_path):
    """Builds the stage; returns its folder and facts."""

    def run(path, *, tokenizer="target", merge="fp32", target=checkpoint):
        corpus, work = tmp_path / "corpus", tmp_path / "work"
        for folder in (corpus, work):
            folder.mkdir(exist_ok=True)
        (corpus / FILE).write_text(json.dumps(dataclasses.asdict(CORPUS)))
        params = {
            "path": str(path),
            "revision": None,
            "tokenizer": tokenizer,
            "merge": merge,
            "trust_remote_code": False,
        }
        inputs = {"target": artifact(target), "corpus": artifact(corpus)}
        return work, build(params, inputs, work, RUNTIME)

    return run


@pytest.fixture
def changed(checkpoint, tmp_path):
    """A copy of the target with other weights, after `change` has had its folder and its model."""

    def make(change=lambda model, folder: None, **save):
        folder = tmp_path / "unlearned"
        model = AutoModelForCausalLM.from_pretrained(checkpoint)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.25)
        shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("model*"))
        change(model, folder)
        model.save_pretrained(folder, **save)
        return folder

    return make


@pytest.fixture
def adapter(checkpoint, tmp_path):
    """A LoRA adapter of the target that changes its queries."""

    def make(base=checkpoint, **settings):
        from peft import LoraConfig, get_peft_model

        folder, model = tmp_path / "adapter", AutoModelForCausalLM.from_pretrained(base)
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, **settings)
        torch.manual_seed(1)
        get_peft_model(model, config).save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shard", ["6KB", "1GB"])
def test_a_full_checkpoint_stays_where_it_is(given, changed, dtype, shard):
    folder = changed(lambda model, _: model.to(getattr(torch, dtype)), max_shard_size=shard)
    work, facts = given(folder)
    assert not list(work.glob("*.safetensors"))
    wanted = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    for name, weight in load_model(work, "fp32").state_dict().items():
        assert torch.equal(weight, wanted[name])
    short = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[dtype]
    assert facts["stored"] == [short]
    assert facts["weights"] == f"unknown (stored in {short})"
    assert (facts["epochs"], facts["optimizer"]) == (None, "unknown")
    assert stored_dtype(str(folder), None) == ("bf16" if dtype == "bfloat16" else "fp32")
    assert load_tokenizer(work).encode("w3 w4") == [3, 4]


def test_weights_of_two_dtypes_need_the_wider(changed):
    def half(model, folder):
        model.to(torch.bfloat16).model.norm.float()

    assert stored_dtype(str(changed(half)), None) == "fp32"


@pytest.mark.parametrize("merge", ["fp32", "bf16"])
def test_an_adapter_is_added_to_the_target(given, adapter, checkpoint, merge):
    work, facts = given(adapter(), merge=merge)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[merge]
    target = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype).state_dict()
    stored = load_file(work.parent / "adapter" / "adapter_model.safetensors")
    moved = 0
    for name, weight in load_model(work, merge).state_dict().items():
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_{{}}.weight"
        wanted = target[name]
        if key.format("A") in stored:
            change = stored[key.format("B")] @ stored[key.format("A")] * 8 / 2  # alpha by rank
            wanted = (wanted.float() + change).to(dtype)
            moved += int((weight != target[name]).sum())
        torch.testing.assert_close(weight, wanted, rtol=1e-6, atol=1e-7)
    assert moved > 0
    assert facts["adapter"] | {"library": None} == {
        "type": "LORA", "rank": 2, "base": str(checkpoint), "merged_in": merge, "library": None,
    }  # fmt: skip
    assert load_tokenizer(work).encode("w3") == [3]


def refused(run, *arguments, **settings):
    with pytest.raises(ValueError, match=r"\Amethod\.path=[^\n]+\Z") as refusal:
        run(*arguments, **settings)
    return str(refusal.value)


def test_an_adapter_of_another_model_is_refused(given, adapter, checkpoint, tmp_path):
    """PEFT only warns where names do not match, and would leave the target as it is."""
    folder = adapter()
    file = folder / "adapter_model.safetensors"
    stored = load_file(file)
    save_file({name.replace("layers.1", "layers.7"): one for name, one in stored.items()}, file)
    assert "layers.1.self_attn.q_proj" in refused(given, folder)
    save_file({name: one[:, :1].contiguous() for name, one in stored.items()}, file)
    assert "has shape" in refused(given, folder)
    save_file({name: one * torch.nan for name, one in stored.items()}, file)
    assert "NaN" in refused(given, folder)
    save_file({**stored, "base_model.model.lm_head.weight": torch.ones(2)}, file)
    assert "the target has no base_model.model.lm_head.weight" in refused(given, folder)
    file.unlink()
    (folder / "adapter_model.bin").write_bytes(b"pickled")
    assert "safetensors only" in refused(given, folder)


def test_an_adapter_that_adds_tokens_is_refused(given, checkpoint, tmp_path):
    from peft import PromptTuningConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(model, config).save_pretrained(tmp_path / "prompt")
    assert "adapter" in refused(given, tmp_path / "prompt")


def test_an_embedding_that_was_resized_is_refused_with_what_to_do(given, changed):
    folder = changed(lambda model, _: model.resize_token_embeddings(24, mean_resizing=False))
    message = refused(given, folder)
    assert "vocab_size=24" in message
    assert "resize_token_embeddings" in message


def test_a_further_head_is_refused(given, changed):
    folder = changed()
    file = folder / "model.safetensors"
    save_file({**load_file(file), "v_head.weight": torch.ones(1, 16)}, file, {"format": "pt"})
    assert "v_head" in refused(given, folder)


def test_a_quantized_checkpoint_is_refused_with_where_it_belongs(given, changed):
    folder = changed()
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    assert "quant=prequantized" in refused(given, folder)


def another_tokenizer(model, folder):
    """Two words have changed places."""
    content = json.loads((folder / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words["w3"], words["w4"] = words["w4"], words["w3"]
    Tokenizer.from_str(json.dumps(content)).save(str(folder / "tokenizer.json"))


def test_a_tokenizer_that_differs_on_the_corpus_is_refused_or_used(given, changed):
    folder = changed(another_tokenizer)
    message = refused(given, folder)
    assert "'w3 w4 w5'" in message
    assert "method.tokenizer=own" in message
    work, _ = given(folder, tokenizer="own")
    assert load_tokenizer(work).encode("w3 w4") == [4, 3]


def test_another_end_of_answers_is_refused(given, changed):
    def other_end(model, folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.eos_token = "w19"
        tokenizer.save_pretrained(folder)

    assert "eos token has the id 19" in refused(given, changed(other_end))


def test_without_a_tokenizer_it_gets_the_target_s(given, changed):
    folder = changed(lambda model, folder: [file.unlink() for file in folder.glob("token*")])
    work, _ = given(folder)
    assert load_tokenizer(work).encode("w5") == [5]
    assert "method.tokenizer=target" in refused(given, folder, tokenizer="own")


def test_an_untied_head_counts_beside_a_tied_one(checkpoint, tmp_path):
    from unlearn_lab.evaluate.codes_stage import _parameters

    models = [AutoModelForCausalLM.from_pretrained(checkpoint) for _ in range(2)]
    models[0].config.tie_word_embeddings = True
    models[0].tie_weights()
    tied, untied = _parameters(*models)
    assert tied.keys() == untied.keys()
    assert torch.equal(tied["lm_head.weight"], tied["model.embed_tokens.weight"])
    assert len(_parameters(models[0], models[0])[0]) == len(tied) - 1


@pytest.mark.parametrize("content", ["[1]", "{", '"x"'])
def test_settings_that_are_no_settings(tmp_path, content):
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(ValueError, match="not a JSON object"):
        adapter_settings(str(tmp_path), None)


def test_what_the_planner_sees(adapter):
    folder = str(adapter())
    model = GivenModel(path=folder, revision=None, tokenizer="target", merge="auto")
    assert isinstance(model, FinishedUnlearning)
    assert model.libraries == ("peft",)
    (one,) = model.outside
    assert (one.place, one.setting, one.revision) == (folder, "path", "revision")
    assert dataclasses.replace(model, path="x.gguf").libraries == ("gguf",)


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_rate_is_positive_or_unknown(rate):
    with pytest.raises(ValueError, match="above 0, or null"):
        UnknownUpdate(lr=rate)
