"""Models and tokenizers of .gguf files, against what their headers and tensors say."""

import json

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import rms_norm, silu

from tests.models.test_load import EMPTY, hub_model
from tests.models.test_tokenizer import BLANKS, TEXTS, by_sentencepiece, pieces, split
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.metric import Continue
from unlearn_lab.graph.packaged import packaged
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.models.tokenizer import load

__all__ = ["pieces"]

LAYERS, HEADS, GROUPS, SIZE, INNER, VOCABULARY = 2, 4, 2, 64, 96, 320
NUMBERS = [*TEXTS, *BLANKS, "In 1987 it's 12345.67 m, THEY'LL say\r\n\r\n  so."]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PLAIN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    ),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), PLAIN]),
    "qwen2": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"), PLAIN]
    ),
}


def byte_level(before) -> Tokenizer:
    """Trained without its pre-tokenizer, so that merges cross words and digits."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = PLAIN, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(NUMBERS * 3, trainer)
    bpe.pre_tokenizer = before
    return bpe


def describe(writer, tokens, *, pre="smollm", model="gpt2", kinds=None, **further):
    writer.add_context_length(256)
    writer.add_embedding_length(SIZE)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_rope_dimension_count(SIZE // HEADS)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(model)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds or [3 if token[0] == "<" else 1 for token in tokens])
    for name, value in further.items():
        getattr(writer, f"add_{name}")(value)


def write(file, bpe, pre, **further):
    """A Llama with key-value heads shared by two heads, tied embeddings and 4-bit matrices.

    Returns its weights by the names in the file, as `gguf` dequantizes them.
    """
    content = json.loads(bpe.to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].get)
    writer = gguf.GGUFWriter(file, "llama")
    special = {"bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0, "pad_token_id": 2}
    merges = {"token_merges": [" ".join(pair) for pair in content["merges"]]}
    describe(writer, tokens, pre=pre, **{**special, **merges, **further})
    random, weights = np.random.default_rng(0), {}

    def add(name, kind, *shape):
        value = random.normal(0, 0.5, shape).astype(np.float32)
        if kind == Kind.F32:
            writer.add_tensor(name, value)
            weights[name] = torch.tensor(value)
            return
        packed = gguf.quantize(value, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
        weights[name] = torch.tensor(gguf.dequantize(packed, kind))

    add("token_embd.weight", Kind.Q8_0, len(tokens), SIZE)
    add("output_norm.weight", Kind.F32, SIZE)
    for layer in range(LAYERS):
        for name, rows, columns in (
            ("attn_q", SIZE, SIZE),
            ("attn_k", SIZE * GROUPS // HEADS, SIZE),
            ("attn_v", SIZE * GROUPS // HEADS, SIZE),
            ("attn_output", SIZE, SIZE),
            ("ffn_gate", INNER, SIZE),
            ("ffn_up", INNER, SIZE),
            ("ffn_down", SIZE, INNER),
        ):
            add(f"blk.{layer}.{name}.weight", Kind.Q4_1, rows, columns)
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{name}.weight", Kind.F32, SIZE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def turned(values, base=5000.0):
    """Rotary positions as llama.cpp turns the pairs (0, 1), (2, 3), ... of a head's values."""
    tokens, _, width = values.shape
    speeds = base ** (-torch.arange(0, width, 2) / width)
    angles = (torch.arange(tokens)[:, None] * speeds)[:, None]
    even, odd = values[..., 0::2], values[..., 1::2]
    turned = torch.stack(
        [even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()], -1
    )
    return turned.flatten(-2)


def logits_of(weights, ids, *, layers=LAYERS, heads=HEADS, groups=GROUPS, base=5000.0):
    """A Llama computed with nothing but the file's tensors."""
    hidden = weights["token_embd.weight"][ids]
    size = hidden.shape[1]
    future = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
    for layer in range(layers):
        own = {name.split(".")[2]: w for name, w in weights.items() if f"blk.{layer}." in name}
        inner = rms_norm(hidden, (size,), own["attn_norm"], 1e-5)
        queries, keys, values = (
            (inner @ own[name].T).view(len(ids), -1, size // heads)
            for name in ("attn_q", "attn_k", "attn_v")
        )
        keys, values = (
            one.repeat_interleave(heads // groups, 1) for one in (turned(keys, base), values)
        )
        scores = torch.einsum("ihd,jhd->hij", turned(queries, base), keys)
        scores = scores / (size // heads) ** 0.5 + future
        mixed = torch.einsum("hij,jhd->ihd", scores.softmax(-1), values).flatten(1)
        hidden = hidden + mixed @ own["attn_output"].T
        inner = rms_norm(hidden, (size,), own["ffn_norm"], 1e-5)
        gated = silu(inner @ own["ffn_gate"].T) * (inner @ own["ffn_up"].T)
        hidden = hidden + gated @ own["ffn_down"].T
    hidden = rms_norm(hidden, (size,), weights["output_norm.weight"], 1e-5)
    return hidden @ weights.get("output.weight", weights["token_embd.weight"]).T


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a base model of a .gguf file, its tensors, and the tokenizer in its header."""
    place = tmp_path_factory.mktemp("gguf")
    bpe, folder = byte_level(WORDS["smollm"]), place / "base"
    weights = write(place / "model.gguf", bpe, "smollm", add_bos_token=False)
    folder.mkdir()
    hub_model(path=str(place / "model.gguf")).write_base(folder, EMPTY, 0)
    return folder, weights, bpe


def test_logits_are_those_of_the_file_s_tensors(base):
    folder, weights, bpe = base
    ids = torch.tensor(bpe.encode(NUMBERS[-1]).ids)
    model = load_model(folder, "fp32")
    with torch.no_grad():
        found = model(input_ids=ids[None]).logits[0]
    torch.testing.assert_close(found, logits_of(weights, ids), rtol=1e-3, atol=1e-3)


def continued(following, prompt, bpe, end):
    """The likeliest 12 tokens after a prompt, one at a time, and before the end's token."""
    start = ids = bpe.encode(prompt, add_special_tokens=False)
    while len(ids) < len(start) + 12:
        token = following(torch.tensor(ids)).argmax().item()
        if token == end:
            break
        ids = [*ids, token]
    return bpe.decode(ids[len(start) :])


def test_greedy_continuations_are_those_of_the_file_s_tensors(base):
    folder, weights, _ = base
    model, tokenizer = load_model(folder, "fp32"), load_tokenizer(folder)
    prompts = [Continue(prompt=text, num_tokens=12) for text in NUMBERS[:3]]
    answers = answer(model, tokenizer, prompts, batch_tokens=500)
    for one in prompts:
        expected = continued(lambda ids: logits_of(weights, ids)[-1], one.prompt, tokenizer, 2)
        assert answers.text(one) == expected


@pytest.mark.slow
def test_smollm2_continues_as_its_file_s_tensors_do(composed, tmp_path):
    """The real model, read through `gguf` alone and through the option `model=smollm2`."""
    chosen = composed("model=smollm2").model
    file = packaged(chosen.path, "model.path")
    hub_model(path=str(file)).write_base(tmp_path, EMPTY, 0)
    model, tokenizer = load_model(tmp_path, "fp32"), load_tokenizer(tmp_path)
    assert (tokenizer.bos_token, tokenizer.eos_token) == (None, "<|im_end|>")
    weights = {
        one.name: torch.tensor(gguf.dequantize(one.data, one.tensor_type))
        for one in gguf.GGUFReader(file).tensors
    }
    shape = {"layers": 30, "heads": 9, "groups": 3, "base": 100_000.0}
    prompts = [
        Continue(prompt="The capital of France is", num_tokens=12),
        Continue(prompt="In 1969, the first man on the moon", num_tokens=12),
        Continue(prompt="def fibonacci(n):", num_tokens=12),
    ]
    answers = answer(model, tokenizer, prompts, batch_tokens=500)
    for one in prompts:
        expected = continued(
            lambda ids: logits_of(weights, ids, **shape)[-1], one.prompt, tokenizer, 2
        )
        assert answers.text(one) == expected
        assert len(expected) > 10
    assert "Paris" in answers.text(prompts[0])


def test_the_special_tokens_are_the_header_s(base):
    folder, _, _ = base
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        *("</s>", "</s>"),
        "<unk>",
    )
    assert tokenizer.bos_token is None, "none is added before a text"
    model = load_model(folder, "fp32")
    assert (model.config.eos_token_id, model.config.pad_token_id) == (2, 2)


@pytest.mark.parametrize("pre", WORDS)
def test_words_are_split_as_the_header_says(tmp_path, pre):
    bpe = byte_level(WORDS[pre])
    bpe.model.ignore_merges = pre == "llama-bpe"
    write(tmp_path / "model.gguf", bpe, pre)  # does not say whether BOS is added
    tokenizer = load(str(tmp_path), {"gguf_file": "model.gguf", "revision": None})
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load(str(tmp_path / "saved"), {"revision": None})
    for one in (tokenizer, again):
        for text in NUMBERS:
            ids = one.encode(text, add_special_tokens=False)
            assert ids == bpe.encode(text).ids
            assert one.decode(ids) == text
            assert one.encode(text) == ([1, *ids] if pre == "llama-bpe" else ids)


def test_an_unknown_way_of_splitting_words_is_refused(tmp_path):
    write(tmp_path / "model.gguf", byte_level(WORDS["gpt-2"]), "klingon")
    with pytest.raises(ValueError, match=r"klingon.*not supported.*model\.tokenizer"):
        load(str(tmp_path), {"gguf_file": "model.gguf", "revision": None})


def test_a_sentencepiece_vocabulary_is_merged_by_its_scores(pieces):
    from transformers.convert_slow_tokenizer import import_protobuf

    content = import_protobuf().ModelProto.FromString((pieces / "tokenizer.model").read_bytes())
    writer = gguf.GGUFWriter(pieces / "model.gguf", "llama")
    describe(
        writer,
        [one.piece for one in content.pieces],
        model="llama",
        pre="default",
        kinds=[one.type for one in content.pieces],
        token_scores=[one.score for one in content.pieces],
        bos_token_id=1,
        eos_token_id=2,
        unk_token_id=0,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = load(str(pieces), {"gguf_file": "model.gguf", "revision": None})
    assert split(tokenizer) == by_sentencepiece(pieces)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
