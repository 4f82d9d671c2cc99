"""What unpacking makes of a checkpoint's other tensors; the unpacked weights are given here."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model
from unlearn_lab.quantize.formats import gptqmodel_files
from unlearn_lab.quantize.formats.gptqmodel_files import make_plain

UP = "model.layers.1.mlp.up_proj"
GPTQ = {"quant_method": "gptq", "bits": 4}


@pytest.fixture
def packed(model, tmp_path, monkeypatch):
    """Writes a checkpoint without its block linears' weights, which unpacking then yields."""
    weights = {name: layer.weight.detach() for name, layer in block_linears(model).items()}
    monkeypatch.setattr(gptqmodel_files, "_dequantized", lambda _: iter(weights.items()))
    folder = tmp_path / "packed"
    model.save_pretrained(folder)

    def change(without=(), **further):
        tensors = load_file(folder / "model.safetensors")
        left = {
            name: tensor
            for name, tensor in tensors.items()
            if name.removesuffix(".weight") not in weights and name not in without
        }
        save_file(left | further, folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] = GPTQ
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return change


@pytest.mark.parametrize("weights", ["fp32", "bf16"])
def test_the_checkpoint_is_an_ordinary_one(model, packed, tmp_path, weights):
    """Its embeddings are tied, as those of the model that it was made from."""
    make_plain(packed(), tmp_path / "plain", weights)
    found = load_model(tmp_path / "plain", weights)
    assert not hasattr(found.config, "quantization_config")
    assert found.lm_head.weight is found.model.embed_tokens.weight
    for name, expected in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], expected.to(found.dtype))


def test_what_auto_gptq_writes_beside_is_left_out(packed, tmp_path):
    """Biases of zero in a model without biases, and frequencies that newer models compute."""
    idle = {f"{UP}.bias": torch.zeros(12), "model.layers.0.self_attn.rotary_emb.inv_freq": ONES}
    make_plain(packed(**idle), tmp_path / "plain", "fp32")
    assert not any("bias" in name for name in load_file(tmp_path / "plain" / "model.safetensors"))


ONES = torch.ones(2)


@pytest.mark.parametrize("name", [f"{UP}.bias", "model.layers.7.mlp.up_proj.weight"])
def test_tensors_of_another_architecture_are_refused(packed, tmp_path, name):
    with pytest.raises(ValueError, match=f"holds {name}, which LlamaForCausalLM does not have"):
        make_plain(packed(**{name: ONES}), tmp_path / "plain", "fp32")


def test_a_missing_tensor_is_refused(packed, tmp_path):
    with pytest.raises(ValueError, match=r"holds no model.norm.weight, which LlamaForCausalLM has"):
        make_plain(packed(without=["model.norm.weight"]), tmp_path / "plain", "fp32")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant_method": "awq", "version": "gemv"}, "layout gemv of awq; only gemm"),
        ({**GPTQ, "checkpoint_format": "marlin"}, "layout marlin of gptq; only gptq, gptq_v2"),
    ],
)
def test_other_layouts_are_refused(checkpoint, tmp_path, settings, message):
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    save_file({"model.norm.weight": ONES}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        make_plain(tmp_path, tmp_path / "plain", "fp32")


def test_a_folder_without_safetensors_is_refused(checkpoint, tmp_path):
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": GPTQ}))
    with pytest.raises(ValueError, match=r"holds no \*\.safetensors"):
        make_plain(tmp_path, tmp_path / "plain", "fp32")
