"""Files in auto-gptq's and autoawq's formats: written and read back, with gptqmodel as the judge.

gptqmodel runs in processes of its own, in these tests as in the package: importing it changes the
process for good.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.models.linears import block_linears
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.models.tiny import TinyLlama
from unlearn_lab.quantize.formats import gptqmodel_files, packed
from unlearn_lab.quantize.rtn import RTN

pytestmark = pytest.mark.gptqmodel

TEXTS = tuple(f"In the year {year} the mill burnt down and was built again." for year in range(40))
TOKENS = torch.arange(2, 66)[None]
KERNEL = 0.03
"""Float16 kernels may differ by this share of the largest logit from float32."""


class Case(NamedTuple):
    """A format, the dtype of the source, and the grid."""

    format: str
    weights: str
    quantizer: RTN


def grid(bits: int, group_size: int | None, *, symmetric: bool = True) -> RTN:
    return RTN(
        bits=bits,
        symmetric=symmetric,
        granularity="row" if group_size is None else "group",
        group_size=group_size,
        convention="absmax" if symmetric else "minmax",
    )


CASES = {
    "gptq, 4 bits, rows": Case("gptq", "fp32", grid(4, None)),
    "gptq, 4 bits, groups of 32": Case("gptq", "bf16", grid(4, 32)),
    "gptq, 4 bits, asymmetric": Case("gptq", "fp32", grid(4, 32, symmetric=False)),
    "gptq, 8 bits, groups of 128": Case("gptq", "fp32", grid(8, 128)),
    "gptq, 2 bits, rows": Case("gptq", "bf16", grid(2, None)),
    "awq, 4 bits, rows": Case("awq", "bf16", grid(4, None)),
    "awq, 4 bits, groups of 32": Case("awq", "fp32", grid(4, 32)),
    "awq, 4 bits, asymmetric": Case("awq", "fp32", grid(4, 128, symmetric=False)),
}

READ = """
import json, sys, torch
from gptqmodel import BACKEND, GPTQModel
from safetensors.torch import save_file

folders, file = json.loads(sys.argv[1]), sys.argv[2]
tokens, logits = torch.arange(2, 66)[None], {}
for name, (format, folder) in folders.items():
    backend = BACKEND.GPTQ_TORCH if format == "gptq" else BACKEND.AWQ_TORCH
    model = GPTQModel.load(folder, backend=backend, device="cpu", dtype=torch.float16)
    with torch.no_grad():
        logits[name] = model.model(tokens).logits.float()
save_file(logits, file)
"""

QUANTIZE = """
import sys, torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.quantization import FORMAT, METHOD
from transformers import AutoTokenizer

source, format, folder = sys.argv[1:]
kinds = {"gptq": (METHOD.GPTQ, FORMAT.GPTQ), "gptq_v2": (METHOD.GPTQ, FORMAT.GPTQ_V2)}
method, layout = kinds.get(format, (METHOD.AWQ, FORMAT.GEMM))
extra = {} if format == "awq" else {"act_group_aware": False}
config = QuantizeConfig(
    bits=4, group_size=32, sym=False, desc_act=format == "gptq", offload_to_disk=False,
    device="cpu", quant_method=method, format=layout, **extra,
)
tokenizer = AutoTokenizer.from_pretrained(source)
texts = [tokenizer(f"{year}: the mill burnt down and was built again. " * 8) for year in range(32)]
model = GPTQModel.load(source, config, dtype=torch.float16)
backend = BACKEND.AWQ_TORCH if format == "awq" else BACKEND.GPTQ_TORCH
model.quantize([text["input_ids"] for text in texts], batch_size=4, backend=backend)
model.save(folder)
"""


def in_gptqmodel(script: str, *arguments: str, folder: Path) -> None:
    """Runs the script in `folder`, where gptqmodel leaves its logs."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env={**os.environ, "TORCHDYNAMO_DISABLE": "1", "GPTQMODEL_CPU_WORKERS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def read_by_gptqmodel(folders: dict[str, tuple[str, Path]], file: Path) -> dict[str, Tensor]:
    """The logits of each folder's model in float16, from gptqmodel's own kernels."""
    asked = {name: (format, str(folder)) for name, (format, folder) in folders.items()}
    in_gptqmodel(READ, json.dumps(asked), str(file), folder=file.parent)
    return load_file(file)


def logits(folder: Path) -> Tensor:
    with torch.no_grad():
        return load_model(folder, "fp32")(TOKENS).logits


def assert_close(found: Tensor, expected: Tensor, share: float) -> None:
    assert (found - expected).abs().max() <= share * expected.abs().max()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A Llama that nobody has trained, with outliers, and its tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    names = ("verbatim", "forget_questions", "forget_examples", "retain_questions")
    further = ("retain_examples", "forget_documents", "holdout_documents")
    llama = TinyLlama(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=256,
        num_layers=2,
        num_heads=4,
        max_positions=128,
        tail_freedom=3.0,
        tail_scale=0.08,
        tail_clip=20.0,
    )
    empty = dict.fromkeys((*names, *further), ())
    llama.write_base(folder, Corpus(forget=TEXTS, retain=TEXTS, **empty), seed=0)
    return folder


@pytest.fixture(scope="module")
def one_sided(base, tmp_path_factory) -> Path:
    """The same with a row of positive weights, whose zero point is 0."""
    folder = tmp_path_factory.mktemp("one_sided")
    model = load_model(base, "fp32")
    block_linears(model)["model.layers.0.mlp.up_proj"].weight.data[3].abs_()
    model.save_pretrained(folder)
    load_tokenizer(base).save_pretrained(folder)
    return folder


def write(base: Path, case: Case, root: Path) -> tuple[Path, Path]:
    """Folders of the source in compressed-tensors' format and of the file made from it."""
    source, written = root / "source", root / "written"
    for folder in (source, written):
        folder.mkdir(parents=True)
    packed.write(load_model(base, case.weights), load_tokenizer(base), case.quantizer, source)
    scheme = (str(case.quantizer.bits), str(case.quantizer.group_size or -1))
    gptqmodel_files.run(case.format, source, written, *scheme)
    return source, written


@pytest.fixture(scope="module")
def files(base, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Every case, written."""
    root = tmp_path_factory.mktemp("files")
    return {
        name: write(base, case, root / str(place))
        for place, (name, case) in enumerate(CASES.items())
    }


@pytest.mark.timeout(900)
def test_gptqmodel_computes_with_the_files_what_we_do(base, files, tmp_path):
    """Kernels in float16: within 3 % of the largest logit; the rounding itself is larger."""
    asked = {name: (case.format, files[name][1]) for name, case in CASES.items()}
    full = logits(base)
    for name, found in read_by_gptqmodel(asked, tmp_path / "logits.safetensors").items():
        expected = logits(files[name][0])
        assert_close(found, expected, KERNEL)
        if CASES[name].quantizer.bits < 8:
            assert (expected - full).abs().max() > 2 * KERNEL * expected.abs().max()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CASES)
def test_unpacking_gives_the_weights_back(files, name, tmp_path):
    """Up to the rounding of scales to float16, which is exact for bfloat16 ones in its range."""
    source, written = files[name]
    gptqmodel_files.run("plain", written, tmp_path, "fp32")
    ours, theirs = load_model(source, "fp32"), load_model(tmp_path, "fp32")
    exact = CASES[name].weights == "bf16"
    for layer, weight in theirs.state_dict().items():
        expected = ours.state_dict()[layer]
        assert weight.dtype == torch.float32
        assert torch.allclose(weight, expected, rtol=0 if exact else 1e-3, atol=0), layer
    assert_close(logits(tmp_path), logits(source), 5e-3)


def test_the_files_say_what_they_hold(base, files):
    written = files["awq, 4 bits, asymmetric"][1]
    settings = json.loads((written / "config.json").read_text())["quantization_config"]
    assert settings == json.loads((written / "quantize_config.json").read_text())
    assert (settings["quant_method"], settings["version"]) == ("awq", "gemm")
    assert (settings["bits"], settings["group_size"]) == (4, 128)
    assert settings["modules_to_not_convert"] == ["lm_head"]
    for name, symmetric in (("rows", True), ("asymmetric", False)):
        written = files[f"gptq, 4 bits, {name}"][1]
        settings = json.loads((written / "config.json").read_text())["quantization_config"]
        assert (settings["sym"], settings["desc_act"]) == (symmetric, False)
        assert settings["checkpoint_format"] == "gptq"
        assert (written / "generation_config.json").exists()
        assert load_tokenizer(written).get_vocab() == load_tokenizer(base).get_vocab()


@pytest.mark.parametrize("format", ["gptq", "gptq_v2", "awq"])
def test_a_checkpoint_of_gptqmodels_own_is_unpacked(one_sided, tmp_path, format):
    """Asymmetric, with a zero point of 0; GPTQ also with columns in the order of activations."""
    theirs, plain = tmp_path / "theirs", tmp_path / "plain"
    in_gptqmodel(QUANTIZE, str(one_sided), format, str(theirs), folder=tmp_path)
    gptqmodel_files.run("plain", theirs, plain, "fp32")
    kind = "awq" if format == "awq" else "gptq"
    found = read_by_gptqmodel({"theirs": (kind, theirs)}, tmp_path / "logits.safetensors")
    expected = logits(plain)
    assert_close(found["theirs"], expected, KERNEL)
    assert (expected - logits(one_sided)).abs().max() > 2 * KERNEL * expected.abs().max()
    if format == "gptq":
        tensors = load_file(next(theirs.glob("*.safetensors")))
        order = tensors["model.layers.0.mlp.up_proj.g_idx"]
        assert not torch.equal(order, order.sort().values)


def test_a_zero_point_of_0_cannot_be_written_as_gptq(one_sided, tmp_path):
    case = Case("gptq", "fp32", grid(4, None, symmetric=False))
    with pytest.raises(
        ValueError, match=r"a zero point is 0.* use quant.symmetric=true or"
    ) as told:
        write(one_sided, case, tmp_path / "gptq")
    assert "\n" not in str(told.value)
    write(one_sided, case._replace(format="awq"), tmp_path / "awq")
