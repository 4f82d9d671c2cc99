"""Loads tokenizers, and makes sure that they split text as their own tokenizer.json says."""

import json
import logging
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from unlearn_lab.config.libraries import require
from unlearn_lab.models.safe_files import file_of

_log = logging.getLogger(__name__)

_FILE, _PIECES = "tokenizer.json", "tokenizer.model"
_PROBES = (
    "In 1900 the old harbour's gates were 3.14 m wide, or so they said.",
    "Two  blanks, a\ttab    and\n\na blank line; naïve Ångström, 東京, Привет, مرحبا, 🙂.",
    " A blank before, camelCase, snake_case, 100,000.00 and e-mail@example.org ",
)
"""Blanks, line breaks, numbers, marks and scripts: where pre-tokenizers differ."""
_FIRST_PIECE = b"\n"
"""How a SentencePiece model begins; another tokenizer.model, as Llama 3's own, is text."""


def load(path: str, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, with a padding token (EOS where the checkpoint names none).

    The class that tokenizer_config.json names may rebuild the tokenizer and lose its
    pre-tokenizer, as LlamaTokenizerFast does with a byte-level tokenizer.json; then the file is
    loaded as it is, and the log says so. Of a tokenizer.model alone the merges are ranked by the
    scores in it. Raises `OSError` or `ValueError` when it cannot be loaded, and `ValueError` when
    even so it splits text otherwise than the file, for a reason that is not in
    tokenizer_config.json.
    """
    gguf = "gguf_file" in options
    file = None if gguf else file_of(path, _FILE, options["revision"])
    pieces = None if gguf or file else file_of(path, _PIECES, options["revision"])
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, ImportError):
        if pieces is not None:
            require("sentencepiece")
        raise
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
    """The id of a special token, None where the tokenizer has none; transformers types it wider."""
    return cast("int | None", getattr(tokenizer, f"{name}_token_id"))


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the padding token of a tokenizer from `load`.

    Raises `ValueError` when the checkpoint names neither a padding nor an EOS token.
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
        _say_once(
            f"{path}: its tokenizer is {_FILE} as it is; {named}, which tokenizer_config.json "
            "names, would split text otherwise"
        )
        return general
    if _split(general) == found:  # a setting of tokenizer_config.json does it
        return tokenizer
    text = next(text for text, a, b in zip(_PROBES, found, wanted, strict=True) if a != b)
    raise ValueError(
        f"its tokenizer's class {named} splits text otherwise than {_FILE} ({text!r}), and so does "
        "transformers' general class; give another tokenizer, model.tokenizer"
    )


def _split(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False) for text in _PROBES]


def _rank_by_scores(tokenizer: PreTrainedTokenizerBase, pieces: Path, path: str) -> None:
    """Gives a tokenizer made of a SentencePiece model the merges that SentencePiece would make.

    It merges the pair with the highest score first, of equal ones the leftmost, so the longer left
    half. transformers 5 ranks merges by their ids: in Llama 2's model runs of blanks have low ids
    and the lowest score.
    """
    data = pieces.read_bytes()
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not data.startswith(_FIRST_PIECE):
        return
    described = json.loads(backend.to_str())
    if described["model"]["type"] != "BPE":
        return
    model = cast("Any", import_protobuf()).ModelProto.FromString(data)
    scores = {piece.piece: piece.score for piece in model.pieces}
    described["model"]["merges"].sort(
        key=lambda pair: (-scores.get("".join(pair), -math.inf), -len(pair[0]))
    )
    before = _split(tokenizer)
    cast("Any", tokenizer)._tokenizer = Tokenizer.from_str(json.dumps(described))
    if _split(tokenizer) != before:
        _say_once(f"{path}: {_PIECES} is read by the scores in it; transformers ranks by ids")


@cache
def _of_file(file: Path, changed_at: int, before: str) -> list[list[int]]:
    """How the file alone splits the probes, with a blank before those that have none if asked."""
    own = Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    texts = [text if text.startswith(" ") else before + text for text in _PROBES]
    return [own.encode(text, add_special_tokens=False).ids for text in texts]


@cache
def _say_once(line: str) -> None:
    _log.warning("%s", line)
