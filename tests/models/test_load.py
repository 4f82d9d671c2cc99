import json
import shutil

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from tests.data.corpora import ROLES
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.models.causal_lm import output_embedding
from unlearn_lab.models.device import device_of
from unlearn_lab.models.hub import HubModel
from unlearn_lab.models.load import POINTER, load_model, load_skeleton, load_tokenizer
from unlearn_lab.models.tokenizer import pad_id


def test_the_checkpoint_is_sharded(checkpoint):
    assert len(list(checkpoint.glob("*.safetensors"))) > 1


@pytest.mark.parametrize(("weights", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_model_is_loaded_in_the_dtype_asked_for(checkpoint, weights, dtype):
    model = load_model(checkpoint, weights)
    whole = AutoModelForCausalLM.from_pretrained(checkpoint).state_dict()
    assert {p.dtype for p in model.parameters()} == {dtype}
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, whole[name].to(dtype), rtol=0, atol=0)


EMPTY = Corpus(**dict.fromkeys(ROLES, ()))


def hub_model(**changes):
    values = {
        "path": "x",
        "revision": None,
        "tokenizer": None,
        "tokenizer_revision": None,
        "finetune": True,
        "retrain": None,
        "retrain_revision": None,
        "trust_remote_code": False,
    }
    return HubModel(**values | changes)


def test_a_pointer_stands_for_a_checkpoint_elsewhere(checkpoint, tmp_path):
    facts = hub_model(path=str(checkpoint)).write_base(tmp_path, EMPTY, 0)
    assert facts["vocabulary"] == 20
    assert [path.name for path in tmp_path.iterdir()] == [POINTER]
    one, other = load_model(tmp_path, "fp32"), load_model(checkpoint, "fp32")
    assert torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_the_tokenizer_can_be_taken_from_another_place(checkpoint, tmp_path):
    weights, words, folder = (tmp_path / name for name in ("weights", "words", "pointer"))
    folder.mkdir()
    for name in (weights, words):
        shutil.copytree(checkpoint, name)
    (weights / "tokenizer.json").unlink()
    (weights / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        hub_model(path=str(weights)).write_base(folder, EMPTY, 0)
    hub_model(path=str(weights), tokenizer=str(words)).write_base(folder, EMPTY, 0)
    assert len(load_tokenizer(folder)) == 20
    assert load_model(folder, "fp32").config.vocab_size == 20


def test_a_skeleton_has_shapes_and_no_weights(checkpoint):
    skeleton = load_skeleton(checkpoint)
    assert {p.device.type for p in skeleton.parameters()} == {"meta"}
    assert skeleton.lm_head.weight.shape == (20, 16)


def test_a_tokenizer_without_padding_pads_with_eos(checkpoint):
    assert load_tokenizer(checkpoint).pad_token_id == 1


@pytest.mark.parametrize(
    "load", [lambda path: load_model(path, "fp32"), load_skeleton, load_tokenizer]
)
def test_a_missing_checkpoint_is_told_in_one_line(tmp_path, load):
    with pytest.raises(
        ValueError, match=r"^model\.path=.*: cannot be loaded.*config\.json, \*\.safetensors"
    ) as refusal:
        load(tmp_path)
    assert "\n" not in str(refusal.value)


def test_pickled_weights_are_not_loaded(checkpoint, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(checkpoint, folder)
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        file.unlink()
    torch.save(load_model(checkpoint, "fp32").state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        load_model(folder, "fp32")


def test_remote_code_is_not_run(checkpoint, tmp_path):
    folder = tmp_path / "remote"
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    marker = tmp_path / "executed"
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(ValueError, match="custom code"):
        load_model(folder, "fp32")
    assert not marker.exists()


def test_a_control_is_not_both_trained_and_given():
    with pytest.raises(ValueError, match=r"^retrain=y: with model\.finetune=true"):
        hub_model(retrain="y")
    assert hub_model(finetune=False).retrain is None


def test_devices():
    assert device_of("cpu").type == "cpu"
    assert device_of("gpu").type == "cuda"
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_cpu_computes_in_float32_with_the_same_weights(checkpoint):
    held = load_model(checkpoint, "bf16")
    before = held.lm_head.weight.detach().clone()
    computing = held.float()
    assert computing.dtype == torch.float32
    assert torch.equal(computing.lm_head.weight, before.float())


def test_a_tokenizer_without_padding_and_eos_is_refused(checkpoint, tmp_path):
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.eos_token = tokenizer.pad_token = None
    with pytest.raises(ValueError, match=r"neither.* padding .*EOS"):
        pad_id(tokenizer)


def test_a_model_without_an_output_embedding_is_refused(checkpoint):
    with pytest.raises(ValueError, match="LlamaModel has no output embedding"):
        output_embedding(AutoModel.from_pretrained(checkpoint))
