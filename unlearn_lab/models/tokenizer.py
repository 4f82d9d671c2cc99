"""Loads tokenizers, and ensures that they split text as their tokenizer.json defines."""

import json
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from unlearn_lab.config.libraries import require
from unlearn_lab.config.once import OncePerProcess
from unlearn_lab.data.typed import PreTrainedTokenizerBase
from unlearn_lab.models.gguf_tokenizer import as_in_header
from unlearn_lab.models.merges import rank_by_scores
from unlearn_lab.models.safe_files import file_of

_log = logging.getLogger(__name__)
_log.addFilter(OncePerProcess())

_FILE, _PIECES = "tokenizer.json", "tokenizer.model"
_PROBES = (
    "In 1900 the old harbour's gates were 3.14 m wide, or so they said.",
    "Two  blanks, a\ttab    and\n\na blank line; naïve Ångström, 東京, Привет, مرحبا, 🙂.",
    " A blank before, camelCase, snake_case, 100,000.00 and e-mail@example.org ",
)
"""Texts on which pre-tokenizers differ: blanks, line breaks, numbers, marks and scripts."""
_FIRST_PIECE = b"\n"
"""First byte of a SentencePiece model; other tokenizer.model files (Llama 3's) are text."""


def load(path: str, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a checkpoint, with a padding token (EOS if the checkpoint has none).

    The class in tokenizer_config.json may rebuild the tokenizer and lose its pre-tokenizer, as
    LlamaTokenizerFast does with a byte-level tokenizer.json; then the file is loaded unchanged,
    with a warning. For a tokenizer.model without tokenizer.json, merges are ranked by its scores;
    that of a .gguf file is as in its header (`gguf_tokenizer`).
    `options` are those of `from_pretrained`. Raises `OSError` or `ValueError` if it cannot be
    loaded, and `ValueError` if it still splits text differently from the file and no setting of
    tokenizer_config.json explains that.
    """
    gguf = options.get("gguf_file")
    file = None if gguf else file_of(path, _FILE, options["revision"])
    pieces = None if gguf or file else file_of(path, _PIECES, options["revision"])
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, ImportError):
        if pieces is not None:
            require("sentencepiece")
        raise
    if gguf is not None:
        tokenizer = as_in_header(tokenizer, Path(path) / gguf)
    if file is not None:
        tokenizer = _as_in_file(tokenizer, file, path, options)
    if pieces is not None:
        _rank_by_scores(tokenizer, pieces, path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def special_id(
    tokenizer: PreTrainedTokenizerBase, name: Literal["pad", "bos", "eos"]
) -> int | None:
    """Returns the id of a special token or None; narrows the type that transformers declares."""
    return cast("int | None", getattr(tokenizer, f"{name}_token_id"))


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Returns the id of the padding token of a tokenizer from `load`.

    Raises `ValueError` if the checkpoint has neither a padding nor an EOS token.
    """
    found = special_id(tokenizer, "pad")
    if found is None:
        raise ValueError(
            f"model.path={tokenizer.name_or_path}: its tokenizer has neither a padding nor an EOS "
            "token; add one to its tokenizer_config.json"
        )
    return found


def _as_in_file(
    tokenizer: PreTrainedTokenizerBase, file: Path, path: str, options: Mapping[str, Any]
) -> PreTrainedTokenizerBase:
    changed_at, named = file.stat().st_mtime_ns, type(tokenizer).__name__
    wanted, found = _of_file(file, changed_at, ""), _split(tokenizer)
    if found == wanted:
        return tokenizer
    prefixed = bool(tokenizer.init_kwargs.get("add_prefix_space"))
    if prefixed and found == _of_file(file, changed_at, " "):
        return tokenizer
    general = PreTrainedTokenizerFast.from_pretrained(path, **options)
    if _split(general) == wanted:
        _log.warning(
            f"{path}: loaded {_FILE} unchanged; {named}, the class in tokenizer_config.json, would "
            "split text differently"
        )
        return general
    if _split(general) == found:  # due to a setting in tokenizer_config.json
        return tokenizer
    text = next(text for text, a, b in zip(_PROBES, found, wanted, strict=True) if a != b)
    raise ValueError(
        f"its tokenizer's class {named} splits text differently from {_FILE} ({text!r}), and so "
        "does transformers' general class; give another tokenizer, model.tokenizer"
    )


def _split(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False) for text in _PROBES]


def _rank_by_scores(tokenizer: PreTrainedTokenizerBase, pieces: Path, path: str) -> None:
    """Ranks the merges of a tokenizer from a SentencePiece model by its scores."""
    data = pieces.read_bytes()
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not data.startswith(_FIRST_PIECE):
        return
    described = json.loads(backend.to_str())
    if described["model"]["type"] != "BPE":
        return
    model = cast("Any", import_protobuf()).ModelProto.FromString(data)
    rank_by_scores(described, {piece.piece: piece.score for piece in model.pieces})
    before = _split(tokenizer)
    cast("Any", tokenizer)._tokenizer = Tokenizer.from_str(json.dumps(described))
    if _split(tokenizer) != before:
        _log.warning(f"{path}: merges of {_PIECES} ranked by score; transformers ranks by id")


@cache
def _of_file(file: Path, changed_at: int, before: str) -> list[list[int]]:
    """Splits the probes with the file alone, with `before` prepended unless they begin blank."""
    own = Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    texts = [text if text.startswith(" ") else before + text for text in _PROBES]
    return [own.encode(text, add_special_tokens=False).ids for text in texts]
