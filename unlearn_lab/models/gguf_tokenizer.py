"""Builds the tokenizer of a .gguf file as its header describes it.

transformers takes the BOS token of a Llama's file for its EOS token, splits every byte-level
vocabulary into GPT-2's words, and ranks a SentencePiece vocabulary's merges by their parts.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from unlearn_lab.config.libraries import require
from unlearn_lab.data.typed import PreTrainedTokenizerBase
from unlearn_lab.models.merges import rank_by_scores

_LIBRARY = "gguf"
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
"""Each special token of a tokenizer, and its name in a header."""
_USER_DEFINED = 4
"""The `tokenizer.ggml.token_type` of tokens that a user added."""
_GPT2, _DIGITS, _LLAMA3, _QWEN2 = "gpt2", "digits", "llama3", "qwen2"
_WORDS = {
    **dict.fromkeys(("gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4"), _GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3"), _LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"), _QWEN2),
}
"""How words are split, by a byte-level vocabulary's `tokenizer.ggml.pre` (llama.cpp's names)."""
_WORD = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""A word of Llama 3 and of Qwen 2, which differ in the number of digits in one word."""


def as_in_header(tokenizer: PreTrainedTokenizerBase, file: Path) -> PreTrainedTokenizerBase:
    """Returns the tokenizer with words, merges and special tokens as in the file's header.

    It has no BOS token where none is added before a text: as the header says, else as llama.cpp
    assumes. Words and merges are only corrected for the architecture `llama`. Raises `ValueError`
    for a way of splitting words that is not supported.
    """
    header = _read(file)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return tokenizer
    described = json.loads(backend.to_str())
    llama = header.get("general.architecture") == "llama"
    kind = header.get("tokenizer.ggml.model")
    if llama and kind == "llama":
        rank_by_scores(described, dict(zip(header["tokens"], header["scores"], strict=True)))
    words = None
    if llama and kind == "gpt2":
        words = _words(header.get("tokenizer.ggml.pre"))
        described["model"]["ignore_merges"] = words == _LLAMA3
        described["model"]["byte_fallback"] = False
    described["post_processor"] = None
    fixed = Tokenizer.from_str(json.dumps(described))
    if words is not None:
        fixed.pre_tokenizer, fixed.decoder = _splitter(words), decoders.ByteLevel()
    fixed.add_tokens(_user_defined(header))
    named = _special_tokens(header, fixed)
    if not header.get("tokenizer.ggml.add_bos_token", kind == "llama" or words == _LLAMA3):
        named.pop("bos_token", None)
    if (first := named.get("bos_token")) is not None:
        fixed.post_processor = TemplateProcessing(
            single=f"{first} $A",
            pair=f"{first} $A {first} $B:1",
            special_tokens=[(first, fixed.token_to_id(first))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=fixed,
        chat_template=header.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        name_or_path=str(file),
        **named,
    )


def _special_tokens(header: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    found = {
        f"{name}_token": tokenizer.id_to_token(header[key])
        for name, spelled in _SPECIAL.items()
        if (key := f"tokenizer.ggml.{spelled}_token_id") in header
    }
    return {name: token for name, token in found.items() if token is not None}


def _user_defined(header: Mapping[str, Any]) -> list[AddedToken]:
    """Returns the tokens that are found in a text before it is split into words."""
    return [
        AddedToken(token, normalized=False, special=False)
        for token, kind in zip(header["tokens"], header.get("token_type", ()), strict=False)
        if kind == _USER_DEFINED
    ]


def _words(named: str | None) -> str:
    if named not in _WORDS:
        raise ValueError(
            f"its header's tokenizer.ggml.pre={named} is not supported ({', '.join(_WORDS)} are); "
            "give the tokenizer's folder or hub name, model.tokenizer"
        )
    return _WORDS[named]


def _splitter(words: str) -> PreTokenizer:
    byte_level = ByteLevel(add_prefix_space=False, use_regex=words in {_GPT2, _DIGITS})
    if words == _GPT2:
        return byte_level
    if words == _DIGITS:
        return Sequence([Digits(individual_digits=True), byte_level])
    pattern = _WORD % ("{1,3}" if words == _LLAMA3 else "")
    return Sequence([Split(Regex(pattern), "isolated"), byte_level])


def _read(file: Path) -> dict[str, Any]:
    """Returns a header's single values, and its tokens' texts, types and scores."""
    require(_LIBRARY)
    # by a name, so that it is in the keys of models that are such files only (HubModel.libraries)
    fields = importlib.import_module(_LIBRARY).GGUFReader(file).fields
    header = {name: field.contents() for name, field in fields.items() if len(field.data) == 1}
    for name in ("tokens", "token_type", "scores"):
        if (field := fields.get(f"tokenizer.ggml.{name}")) is not None:
            header[name] = field.contents()
    return header
