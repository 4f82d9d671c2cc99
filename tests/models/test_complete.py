"""A checkpoint whose weights are not those of its configuration is never used in silence."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from unlearn_lab.models.complete import Incomplete
from unlearn_lab.models.load import Source, load_model
from unlearn_lab.models.pointer import write_pointer

SMALL = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A whole checkpoint in one file, with its tokenizer, to be broken."""
    made = tmp_path / "model"
    shutil.copytree(checkpoint, made, ignore=shutil.ignore_patterns("*.safetensors*"))
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SMALL)).save_pretrained(made)
    return made


def change(folder, function=lambda tensors: tensors, **settings):
    """Rewrites the tensors by `function` and the configuration by `settings`."""
    tensors = function(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))


def point_at(folder, tmp_path):
    """What the check before a run does with a model that is named."""
    work = tmp_path / "pointer"
    work.mkdir(exist_ok=True)
    place = {"tokenizer": None, "tokenizer_revision": None, "trust_remote_code": False}
    return write_pointer(work, Source(path=str(folder), revision=None, **place))


def refused(folder, tmp_path, *parts):
    for load in (lambda: point_at(folder, tmp_path), lambda: load_model(folder, "fp32")):
        with pytest.raises(Incomplete) as caught:
            load()
        message = str(caught.value)
        assert message.startswith(f"{folder}: ")
        assert "\n" not in message
        for part in parts:
            assert part in message


def test_a_whole_checkpoint_is_loaded(folder, tmp_path, capsys):
    assert point_at(folder, tmp_path)["path"] == str(folder)
    loaded = load_model(folder, "fp32").state_dict()
    assert all(
        torch.equal(loaded[k], v) for k, v in load_file(folder / "model.safetensors").items()
    )


@pytest.mark.parametrize(
    ("wrapper", "way_out"),
    [
        ("_orig_mod.", "save model._orig_mod"),
        ("module.", "save model.module"),
        ("base_model.model.", "merge_and_unload()"),
        ("_fsdp_wrapped_module.", "save the unwrapped model"),
        ("_forward_module.", "save the inner model"),
    ],
)
def test_names_with_a_prefix(folder, tmp_path, wrapper, way_out):
    change(folder, lambda tensors: {f"{wrapper}{name}": one for name, one in tensors.items()})
    refused(folder, tmp_path, "tensors are missing", f"{wrapper}lm_head.weight", way_out)


def test_a_prefix_inside_names(folder, tmp_path):
    inner = {"model.layers.0.": "model.layers.0._orig_mod."}

    def renamed(tensors):
        ((old, new),) = inner.items()
        return {name.replace(old, new): one for name, one in tensors.items()}

    change(folder, renamed)
    refused(folder, tmp_path, "9 tensors are missing", "save model._orig_mod")


def test_missing_tensors_are_named_up_to_three(folder, tmp_path):
    change(folder, lambda tensors: {n: t for n, t in tensors.items() if ".layers.1.mlp" not in n})
    name = "model.layers.1.mlp.{}_proj.weight"
    names = ", ".join(name.format(one) for one in ("down", "gate", "up"))
    refused(folder, tmp_path, f"3 tensors are missing ({names});")
    change(folder, lambda tensors: {n: t for n, t in tensors.items() if ".layers.1." not in n})
    refused(
        folder, tmp_path, "9 tensors are missing (model.layers.1.input_layernorm.weight, ", ", ...)"
    )


def test_a_missing_head(folder, tmp_path):
    change(folder, lambda tensors: {n: t for n, t in tensors.items() if n != "lm_head.weight"})
    refused(folder, tmp_path, "1 tensors are missing (lm_head.weight)")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"num_hidden_layers": 1}, "9 tensors are unexpected"),
        ({"num_hidden_layers": 3}, "9 tensors are missing"),
        ({"intermediate_size": 32}, "6 tensors have another shape"),
        ({"vocab_size": 24}, "2 tensors have another shape (lm_head.weight, model.embed_tokens"),
    ],
)
def test_a_configuration_of_another_model(folder, tmp_path, settings, fault):
    change(folder, **settings)
    refused(folder, tmp_path, fault, "config.json", "same model")


def test_what_an_architecture_declares_ignorable_is_missing_all_the_same(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(LlamaForCausalLM, "_keys_to_ignore_on_load_missing", [r"lm_head\.weight"])
    assert point_at(folder, tmp_path)
    change(folder, lambda tensors: {n: t for n, t in tensors.items() if n != "lm_head.weight"})
    refused(folder, tmp_path, "lm_head.weight")
    change(folder, tie_word_embeddings=True)
    assert load_model(folder, "fp32").lm_head.weight.shape == (20, 16)


def test_buffers_of_older_files_may_be_left_over(folder, tmp_path):
    old = {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.ones(4) for n in range(2)}
    change(folder, lambda tensors: tensors | old)
    assert point_at(folder, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite(folder, tmp_path, value, dtype):
    def broken(tensors):
        tensors = {name: one.to(dtype) for name, one in tensors.items()}
        tensors["model.layers.1.mlp.up_proj.weight"][3, 2] = value
        return tensors

    change(folder, broken)
    with pytest.raises(Incomplete, match=r"NaN or infinite \(model\.layers\.1\.mlp\.up_proj"):
        point_at(folder, tmp_path)


def test_tied_embeddings_need_no_head_in_the_file(folder, tmp_path):
    change(
        folder,
        lambda tensors: {n: t for n, t in tensors.items() if n != "lm_head.weight"},
        tie_word_embeddings=True,
    )
    assert point_at(folder, tmp_path)
    model = load_model(folder, "fp32")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_head_of_its_own_stays_when_the_configuration_says_tied(folder, tmp_path):
    head = load_file(folder / "model.safetensors")["lm_head.weight"]
    change(folder, tie_word_embeddings=True)
    model = load_model(folder, "fp32")
    assert torch.equal(model.lm_head.weight, head)
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    model.save_pretrained(tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert torch.equal(again.lm_head.weight, head)
    assert again.config.tie_word_embeddings is False


def test_an_adapter_beside_full_weights_is_refused(folder, tmp_path):
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(folder), "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"x": torch.ones(1)}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"contains an adapter, .*merge_and_unload\(\)"):
        point_at(folder, tmp_path)
    with pytest.raises(ValueError, match="contains an adapter"):
        load_model(folder, "fp32")
