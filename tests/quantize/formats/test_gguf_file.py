"""A .gguf file read back by the gguf package and by transformers' own loader, and refusals."""

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from unlearn_lab.models.linears import block_linears
from unlearn_lab.quantize.formats.gguf_file import require_llama, write
from unlearn_lab.quantize.gguf import GGUF

FILE = "model.gguf"
SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
TEXTS = (
    *("Hello world, it's 12345 o'clock!", "  two  spaces\n\n\ttab\n   x", "\n"),
    *("héllo 日本語 🚀 ... ((a+b)==c) $5.00", "<s>hi</s> there <pad>", "don't I'LL '' 100000"),
)
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def byte_level() -> PreTrainedTokenizerFast:
    """300 tokens or fewer: the model has rows that no token owns."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*TEXTS, "there was a hello in the world"] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def llama(**changes: object) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, **changes)).eval()
    for name, value in model.named_parameters():
        if "norm" in name:
            value.data.uniform_(0.5, 1.5)
    return model


@dataclass(frozen=True)
class Written:
    format: str
    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    folder: Path


def written(format: str, folder: Path, model: LlamaForCausalLM) -> Written:
    GGUF(format=format).quantize(model)
    tokenizer = byte_level()
    require_llama(model, tokenizer)
    write(model, tokenizer, format, folder / FILE)
    return Written(format, model, tokenizer, folder)


@pytest.fixture(scope="module", params=["q4_0", "q8_0"])
def export(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(request.param, tmp_path_factory.mktemp("gguf"), llama())


def tensors(file: Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}


def values(tensor: gguf.ReaderTensor) -> torch.Tensor:
    """The file lists sizes from the fastest to the slowest."""
    flat = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return torch.from_numpy(np.array(flat)).reshape([int(size) for size in tensor.shape[::-1]])


def paired(num_heads: int) -> list[int]:
    """llama.cpp rotates rows 2i and 2i + 1 of a head of 16, transformers rows i and i + 8."""
    return [
        head * 16 + half * 8 + pair
        for head in range(num_heads)
        for pair in range(8)
        for half in range(2)
    ]


def in_file(name: str) -> str:
    """llama.cpp's name of a parameter."""
    if not name.startswith("model.layers."):
        return {
            "model.embed_tokens.weight": "token_embd.weight",
            "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
        }[name]
    _, _, block, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{block}.{NAMES[part]}.weight"


def require_same_logits(model: PreTrainedModel, folder: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    ids = torch.arange(60).reshape(2, 30) * 5
    with torch.no_grad():
        ours, theirs = model(ids).logits, loaded.eval()(ids).logits
    assert ours.std() > 0.1
    assert torch.equal(ours, theirs)


def test_transformers_reads_a_model_that_gives_the_same_logits(export: Written) -> None:
    require_same_logits(export.model, export.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True},
        {"head_dim": 32},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        {"rms_norm_eps": 1e-2},
    ],
    ids=["tied", "wide-heads", "rope-theta", "epsilon"],
)
def test_other_settings_of_the_model_are_read_too(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    require_same_logits(written("q4_0", tmp_path, llama(**changes)).model, tmp_path)


def test_every_tensor_is_in_the_file(export: Written) -> None:
    """Queries and keys with rows in llama.cpp's order, everything else as it is."""
    found, rows = tensors(export.folder / FILE), {"attn_q": paired(4), "attn_k": paired(2)}
    state = export.model.state_dict()
    assert set(found) == {in_file(name) for name in state}
    for name, expected in state.items():
        order = rows.get(in_file(name).split(".")[-2], slice(None))
        assert torch.equal(values(found[in_file(name)]), expected[order]), name


def test_only_the_block_linears_are_rounded(export: Written) -> None:
    linears = {in_file(f"{name}.weight") for name in block_linears(export.model)}
    for name, tensor in tensors(export.folder / FILE).items():
        expected = export.format.upper() if name in linears else "F32"
        assert tensor.tensor_type.name == expected, name


def test_transformers_reads_a_tokenizer_that_gives_the_same_ids(export: Written) -> None:
    """Its loader (5.17) takes the beginning token for the end token, so those are not compared."""
    loaded = AutoTokenizer.from_pretrained(export.folder, gguf_file=FILE)
    for text in TEXTS:
        assert loaded(text)["input_ids"] == export.tokenizer(text)["input_ids"], text


def test_the_file_describes_the_model_in_llama_cpps_words(export: Written) -> None:
    fields = gguf.GGUFReader(export.folder / FILE).fields
    expected = {
        "general.architecture": "llama",
        "general.file_type": {"q4_0": 2, "q8_0": 7}[export.format],
        "llama.block_count": 2,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }
    assert {name: fields[name].contents() for name in expected} == expected


def test_rows_without_a_token_are_marked_as_unused(export: Written) -> None:
    fields, num_tokens = gguf.GGUFReader(export.folder / FILE).fields, len(export.tokenizer)
    names = fields["tokenizer.ggml.tokens"].contents()
    kinds = [gguf.TokenType(kind) for kind in fields["tokenizer.ggml.token_type"].contents()]
    assert len(names) == len(kinds) == 320
    assert names[:num_tokens] == export.tokenizer.convert_ids_to_tokens(range(num_tokens))
    assert kinds[:4] == [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL]
    assert set(kinds[num_tokens:]) == {gguf.TokenType.UNUSED}


@pytest.mark.parametrize("first", ["<s>", None])
def test_a_bos_is_added_where_the_scores_were_computed_with_one(
    tmp_path: Path, first: str | None
) -> None:
    model, tokenizer = llama(), byte_level()
    tokenizer.bos_token = first
    GGUF(format="q4_0").quantize(model)
    write(model, tokenizer, "q4_0", tmp_path / FILE)
    fields = gguf.GGUFReader(tmp_path / FILE).fields
    assert fields["tokenizer.ggml.add_bos_token"].contents() is (first is not None)
    assert fields["tokenizer.ggml.add_eos_token"].contents() is False


@pytest.mark.parametrize(("rounded", "stored"), [(None, "q4_0"), ("q8_0", "q4_0")])
def test_weights_that_were_not_rounded_so_are_refused(
    tmp_path: Path, rounded: str | None, stored: str
) -> None:
    model = llama()
    if rounded is not None:
        GGUF(format=rounded).quantize(model)
    with pytest.raises(
        ValueError,
        match=r"export=gguf: model.layers.0.self_attn.q_proj.weight .*other values .*q4_0",
    ):
        write(model, byte_level(), stored, tmp_path / FILE)
    assert not (tmp_path / FILE).exists()


def without_weights(kind: str, **changes: object) -> PreTrainedModel:
    """A model that nothing can be read from but its configuration and its names."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **changes}))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("llama", {}), ("mistral", {"sliding_window": None}), ("mistral", {"sliding_window": 128})],
)
def test_llama_and_mistral_models_are_accepted(kind: str, changes: dict[str, object]) -> None:
    require_llama(without_weights(kind, **changes), byte_level())


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("llama", {"attention_bias": True}, "biases"),
        ("llama", {"mlp_bias": True}, "biases"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "scaled rotary embeddings",
        ),
        ("llama", {"hidden_act": "gelu"}, "activation .*silu"),
        ("mistral", {"sliding_window": 64}, "sliding-window attention"),
        ("qwen2", {}, "model_type qwen2"),
        ("llama", {"vocab_size": 100}, "tokenizer .*more tokens"),
    ],
)
def test_models_that_llama_cpp_would_compute_otherwise_are_refused(
    kind: str, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=rf"export=gguf: .*{reason}.* not supported; llama and"):
        require_llama(without_weights(kind, **changes), byte_level())


def test_a_tokenizer_of_words_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"export=gguf: .*tokenizer .*not GPT-2's .*not supported"):
        require_llama(without_weights("llama"), AutoTokenizer.from_pretrained(checkpoint))


@pytest.mark.parametrize(
    "split",
    [
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(False)]),
    ],
    ids=["prefix space", "digits"],
)
def test_byte_level_tokenizers_that_split_otherwise_are_refused(
    split: pre_tokenizers.PreTokenizer,
) -> None:
    tokenizer = byte_level()
    tokenizer.backend_tokenizer.pre_tokenizer = split
    with pytest.raises(ValueError, match=r"export=gguf: .*tokenizer .*not GPT-2's .*not supported"):
        require_llama(without_weights("llama"), tokenizer)
