"""Models that cannot give right figures are refused before anything is trained."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, OPTConfig, RwkvConfig

from tests.data.corpora import ROLES, muse_folder, texts
from tests.e2e.artifacts import SMALL
from tests.models import families
from unlearn_lab.config.build import Refused
from unlearn_lab.config.exits import RequestRefused
from unlearn_lab.data.corpus import Corpus, Probe, Question, Template
from unlearn_lab.execute.job import request
from unlearn_lab.execute.preflight_models import require_rows
from unlearn_lab.models.load import load_skeleton

CHOICES = {"model": "hf", "dataset": "muse_news", "method": "m", "optimizer": "a", "quant": "q"}


@pytest.fixture
def llama(tmp_path):
    return families.save("llama32", tmp_path / "llama", max_position_embeddings=2048)


@pytest.fixture
def ask(composed, tmp_path):
    """A job on models of one's own and a small corpus in MUSE's layout."""

    def make(*overrides):
        folder = tmp_path / "news"
        if not folder.exists():
            muse_folder(folder, raw__forget=texts("forget", 6))
        settings = [one for one in SMALL if not one.startswith("dataset.")]
        settings += ["model=hf", "method=ga", "dataset=muse_news", f"dataset.path={folder}"]
        settings += [f"runtime.home={tmp_path / 'lab'}", "trainer.max_length=32"]
        settings += ["finetune.max_length=32", "finetune.batch_size=1", "trainer.batch_size=1"]
        return request(composed(*settings, *overrides), CHOICES)

    return make


def untrained(tmp_path):
    return not any((tmp_path / "lab" / "cache" / name).exists() for name in ("unlearn", "evaluate"))


def another(folder, place, config):
    """A checkpoint of another architecture with the same tokenizer."""
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    AutoModelForCausalLM.from_config(config).save_pretrained(place)
    return place


def without_a_layer(folder, place):
    shutil.copytree(folder, place)
    tensors = load_file(place / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if ".layers.1." not in name}
    save_file(kept, place / "model.safetensors", metadata={"format": "pt"})
    return place


def refusal(ask, *overrides):
    with pytest.raises((Refused, RequestRefused)) as caught:
        ask(*overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_models_pass(ask, llama):
    assert ask(f"model.path={llama}").plan.finetunes
    given = ask(f"model.path={llama}", "model.finetune=false", f"model.retrain={llama}")
    assert not given.plan.finetunes


@pytest.mark.parametrize("finetune", ["true", "false"])
def test_a_model_that_is_not_whole(ask, llama, tmp_path, finetune):
    broken = without_a_layer(llama, tmp_path / "broken")
    told = refusal(ask, f"model.path={broken}", f"model.finetune={finetune}")
    assert told.startswith(f"model.path={broken}: 9 tensors are missing (model.layers.1.")
    assert untrained(tmp_path)


def test_a_control_that_is_not_whole(ask, llama, tmp_path):
    broken = without_a_layer(llama, tmp_path / "broken")
    given = (f"model.path={llama}", "model.finetune=false")
    told = refusal(ask, *given, f"model.retrain={broken}")
    assert told.startswith(f"model.retrain={broken}: 9 tensors are missing")
    (broken / "config.json").unlink()
    assert refusal(ask, *given, f"model.retrain={broken}").startswith(f"model.retrain={broken}: ")
    assert untrained(tmp_path)


def test_a_control_of_another_architecture(ask, llama, tmp_path):
    sizes = {key: families.SIZES[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers")}
    opt = another(llama, tmp_path / "opt", OPTConfig(**sizes, num_attention_heads=4, ffn_dim=48))
    deeper = families.save(
        "llama32", tmp_path / "deeper", num_hidden_layers=3, max_position_embeddings=2048
    )
    given = (f"model.path={llama}", "model.finetune=false")
    told = refusal(ask, *given, f"model.retrain={opt}")
    assert told.startswith(f"model.retrain={opt}: ")
    assert re.search(r"opt model, .*model\.path .*llama model", told)
    told = refusal(ask, *given, f"model.retrain={deeper}")
    assert told.startswith(f"model.retrain={deeper}: has num_hidden_layers=3, and model.path has 2")
    assert untrained(tmp_path)


def test_padding_beyond_the_embedding(ask, llama, tmp_path):
    tokenizer = families.tokenizer(bos=True)
    tokenizer.add_special_tokens({"pad_token": "<further>"})
    tokenizer.save_pretrained(llama)
    rows = families.SIZES["vocab_size"]
    told = refusal(ask, f"model.path={llama}")
    assert re.search(rf"pad token .*id {len(tokenizer) - 1}, .* {rows} rows", told)
    assert untrained(tmp_path)


def test_a_text_beyond_the_embedding(ask, llama, tmp_path):
    tokenizer, rows = families.tokenizer(bos=True), families.SIZES["vocab_size"]
    assert tokenizer.add_tokens("forget") == 1
    tokenizer.save_pretrained(llama)
    told = refusal(ask, f"model.path={llama}")
    assert re.match(rf"model\.path: the text '.*forget.*' .*token .*id {rows}, ", told)
    assert untrained(tmp_path)


@pytest.mark.parametrize(
    ("probe", "pair", "message"),
    [
        (Probe("Who?", "Ada", None, ("forget",)), (), "the text 'forget'"),
        (None, (Question("Who?", "Ada"),), "the text 'Who\\?'"),
        (None, (), None),
    ],
)
def test_a_wrong_answer_and_a_chat_beyond_the_embedding(llama, probe, pair, message):
    """The chat template begins with a token that has no row; it is in no text."""
    tokenizer = families.tokenizer(bos=True)
    tokenizer.add_tokens(["forget", "<chat>"])
    tokenizer.chat_template = (
        "<chat>{% for m in messages %}{{ m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    )
    corpus = Corpus(
        **dict.fromkeys(ROLES, ()),
        forget_pairs=pair,
        probes={"forget": () if probe is None else (probe,)},
        template=Template(kind="auto", system=None, date=""),
    )
    model = load_skeleton(llama)
    if message is None:
        require_rows(model, tokenizer, corpus)
        return
    with pytest.raises(Refused, match=message):
        require_rows(model, tokenizer, corpus)


def test_tokens_that_no_text_uses_may_lie_beyond(ask, llama):
    tokenizer = families.tokenizer(bos=True)
    tokenizer.add_tokens([f"never{number}used" for number in range(400)])
    tokenizer.save_pretrained(llama)
    assert ask(f"model.path={llama}")


def test_a_tokenizer_without_padding_and_eos(ask, llama, tmp_path):
    file = llama / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    for name in ("pad_token", "eos_token"):
        settings.pop(name, None)
    file.write_text(json.dumps(settings))
    told = refusal(ask, f"model.path={llama}")
    assert told.startswith(f"model.path={llama}: ")
    assert re.search("neither a padding .*EOS", told)
    assert untrained(tmp_path)


def test_an_architecture_that_padding_disturbs(ask, llama, tmp_path):
    config = RwkvConfig(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        attention_hidden_size=32,
        intermediate_size=48,
    )
    torch.manual_seed(0)
    rwkv = another(llama, tmp_path / "rwkv", config)
    assert "RwkvForCausalLM continues a prompt differently" in refusal(ask, f"model.path={rwkv}")
    assert untrained(tmp_path)
