"""Checkpoints that would run code when loaded: none is run, and each is refused in one line."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.security.conftest import edit
from tests.unlearn.training.test_fit import RUNTIME, train
from unlearn_lab.models.load import Source, load_model, load_skeleton, load_tokenizer
from unlearn_lab.models.pointer import point
from unlearn_lab.quantize.formats.packed import read_codes
from unlearn_lab.quantize.prequantized import describe
from unlearn_lab.quantize.quantize_stage import build_prequantized

INDEX = "model.safetensors.index.json"
CODE = "from transformers import LlamaConfig as C, LlamaForCausalLM as L\nT = None\n"


def pointed(tmp_path, path, trust=False):
    """A folder of the cache that stands for a checkpoint."""
    place = tmp_path / "base"
    place.mkdir(exist_ok=True)
    elsewhere = {"tokenizer": None, "tokenizer_revision": None}
    point(place, Source(path=str(path), revision=None, trust_remote_code=trust, **elsewhere))
    return place


def refused(load, message):
    with pytest.raises(ValueError, match=message) as caught:
        load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["pickle", "zip"])
@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.safetensors"]
)
def test_pickled_weights(folder, traps, tmp_path, form, name):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    getattr(traps, form)(folder / name)
    traps.pickle(folder / "optimizer.pt")
    reason = "header too large" if name == "model.safetensors" else "no file named model.safetens"
    refused(lambda: load_model(pointed(tmp_path, folder), "fp32"), rf"cannot be loaded .*{reason}")


@pytest.mark.parametrize("place", ["evil.bin", "../evil.safetensors", "{outside}", "sub/x.pkl"])
def test_an_index_that_names_other_files(folder, traps, tmp_path, place):
    shards = json.loads((folder / INDEX).read_text())["weight_map"]
    first = sorted(set(shards.values()))[0]
    outside = tmp_path / "evil.safetensors"
    outside.write_bytes((folder / first).read_bytes())
    traps.zip(folder / "evil.bin")
    name = place.format(outside=outside)
    edit(folder / INDEX, weight_map={k: name if v == first else v for k, v in shards.items()})
    place = pointed(tmp_path, folder)
    refused(lambda: load_model(place, "fp32"), rf"index\.json names the file {name}; weights")
    refused(lambda: read_codes(folder, "x", bits=4, rescaled=False), "names the file")


@pytest.mark.parametrize("index", ["[]", "{", '{"weight_map": 3}', '{"weight_map": [1]}'])
def test_an_index_that_is_none(folder, tmp_path, index):
    (folder / INDEX).write_text(index)
    refused(lambda: load_model(pointed(tmp_path, folder), "fp32"), "not a safetensors index")


def test_a_pickled_adapter(folder, traps, tmp_path):
    kind = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    edit(folder / "adapter_config.json", base_model_name_or_path=str(folder), **kind)
    traps.zip(folder / "adapter_model.bin")
    refused(lambda: load_model(pointed(tmp_path, folder), "fp32"), "contains an adapter")


@pytest.mark.parametrize("kind", ["llama", "evil"])
def test_code_is_run_only_where_the_model_is_trusted_by_name(
    folder, traps, tmp_path, monkeypatch, kind
):
    """A known architecture is loaded by the library's own class, an unknown one not at all."""
    for known in (LlamaConfig, LlamaForCausalLM):  # which transformers marks as custom ones then
        monkeypatch.setattr(known, "_auto_class", None)
    for name in ("code", "words"):
        traps.script(folder / f"{name}.py", CODE)
    edit(
        folder / "config.json",
        model_type=kind,
        auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.L"},
    )
    place = pointed(tmp_path, folder)
    if kind == "llama":
        load_model(place, "fp32")
        load_skeleton(place)
        return
    for found in (place, folder):
        refused(lambda found=found: load_model(found, "fp32"), "custom code")
        refused(lambda found=found: load_skeleton(found), "custom code")
    refused(lambda: describe(str(folder), None), "custom code")
    assert not traps.sprung
    load_model(pointed(tmp_path, folder, trust=True), "fp32")
    assert traps.sprung  # as was asked
    traps.mark.rmdir()


def test_a_tokenizer_with_code(folder, traps, tmp_path, monkeypatch):
    """Nobody is asked at the terminal either, where a y would run it."""
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    traps.script(folder / "words.py", CODE)
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="T",
        auto_map={"AutoTokenizer": [None, "words.T"]},
    )
    for place in (folder, pointed(tmp_path, folder)):
        refused(lambda place=place: load_tokenizer(place), "custom code")


def test_a_chat_template_is_never_filled_in(folder, traps, tmp_path):
    call = f"cycler.__init__.__globals__.os.mkdir('{traps.mark}')"
    (folder / "chat_template.jinja").write_text(f"{{{{ {call} }}}}")
    load_tokenizer(pointed(tmp_path, folder)).save_pretrained(tmp_path / "again")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "no layer.* quantized"),
        ({"quant_method": "compressed-tensors"}, "no layer.* quantized"),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel|no layer.* quantized"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel|no layer.* quantized"),
        ({"quant_method": "torchao"}, "torchao, is not supported"),
        ({"quant_method": "quanto"}, "quanto, is not supported"),
    ],
)
def test_a_quantized_checkpoint_of_pickles(folder, traps, tmp_path, settings, reason):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    traps.zip(folder / "pytorch_model.bin")
    edit(folder / "config.json", quantization_config=settings)
    params = {"path": str(folder), "revision": None, "weights": "fp32"}
    refused(lambda: build_prequantized(params, {}, tmp_path, RUNTIME), reason)
    refused(lambda: load_model(pointed(tmp_path, folder), "fp32"), "cannot be loaded")


def test_a_pickle_that_is_called_gguf(traps, tmp_path):
    file = tmp_path / "model.gguf"
    traps.pickle(file)
    refused(lambda: describe(str(file), None), "not a GGUF file")
    refused(lambda: load_model(pointed(tmp_path, file), "fp32"), "not a GGUF file")


@pytest.mark.filterwarnings("ignore:The `srun` command")  # Lightning's, where Slurm is installed
def test_a_checkpoint_to_resume_from_that_is_a_trap(checkpoint, traps, tmp_path):
    """Our own is a torch zip too, but only tensors and plain values are read from it."""
    work = tmp_path / "key.work.1"
    work.mkdir()
    traps.zip(work / "last.ckpt")
    sequences = [torch.tensor([1, 2, 3])] * 4
    with pytest.raises(Exception, match=r"Weights only load failed"):
        train(load_model(checkpoint, "fp32"), sequences, work)
