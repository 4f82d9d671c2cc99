"""A tokenizer splits text as its tokenizer.json says, whatever class its configuration names."""

import json
import logging
import re
from importlib.metadata import PackageNotFoundError

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from unlearn_lab.models.tokenizer import load

OPTIONS = {"revision": None, "trust_remote_code": False}
TEXTS = [
    "In 1900 the old harbour's gates were shut, said the keeper. " * 3,
    "The mill burnt down in 1912, and nobody had the keys to the school.",
]


@pytest.fixture
def byte_level(tmp_path):
    """A byte-level tokenizer, as GPT-2's and DeepSeek's are; `name_class` sets what config says."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(tmp_path)
    return tmp_path


def set_config(folder, **settings):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def splits_as_its_file(tokenizer, folder):
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return all(
        tokenizer.encode(text, add_special_tokens=False)
        == own.encode(text, add_special_tokens=False).ids
        for text in TEXTS
    )


def test_a_class_that_loses_the_pre_tokenizer_is_passed_over(byte_level, caplog):
    set_config(byte_level, tokenizer_class="LlamaTokenizerFast")
    assert not splits_as_its_file(AutoTokenizer.from_pretrained(byte_level), byte_level)
    with caplog.at_level(logging.WARNING):
        tokenizer = load(str(byte_level), OPTIONS)
        load(str(byte_level), OPTIONS)
    assert splits_as_its_file(tokenizer, byte_level)
    assert tokenizer.decode(tokenizer.encode(TEXTS[1])) == TEXTS[1]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<s>",
        "</s>",
        "</s>",
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{byte_level}: loaded tokenizer.json unchanged; LlamaTokenizer")


def test_it_is_kept_so_by_the_stages_that_save_it(byte_level, tmp_path):
    set_config(byte_level, tokenizer_class="LlamaTokenizerFast")
    load(str(byte_level), OPTIONS).save_pretrained(tmp_path / "saved")
    assert splits_as_its_file(load(str(tmp_path / "saved"), OPTIONS), byte_level)


def test_a_setting_may_change_what_the_file_says(byte_level, caplog):
    set_config(byte_level, tokenizer_class="GPT2TokenizerFast", add_prefix_space=True)
    named = AutoTokenizer.from_pretrained(byte_level)
    with caplog.at_level(logging.WARNING):
        tokenizer = load(str(byte_level), OPTIONS)
    assert tokenizer.encode(TEXTS[0]) == named.encode(TEXTS[0])


def test_the_right_class_is_left_alone(byte_level, caplog):
    with caplog.at_level(logging.WARNING):
        assert splits_as_its_file(load(str(byte_level), OPTIONS), byte_level)
    assert not caplog.records


CLASSES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
BLANKS = ["x  y   z    x", "a mill  in 1912,   and nobody    had the keys.", "\n\n  x"]


@pytest.fixture
def pieces(tmp_path):
    """Llama 2's kind: a tokenizer.model alone, its runs of blanks of low ids and lowest score."""
    import sentencepiece
    from transformers.convert_slow_tokenizer import import_protobuf

    text = tmp_path / "text"
    text.write_text("\n".join(one.replace(" ", "   ") + "\n" + one for one in TEXTS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(tmp_path / "tokenizer"),
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.vocab").unlink()
    file = tmp_path / "tokenizer.model"
    model = import_protobuf().ModelProto.FromString(file.read_bytes())
    runs = [one for one in model.pieces if set(one.piece) == {"▁"} and len(one.piece) > 1]
    assert runs
    for one in runs:
        one.score = -1e9
    file.write_bytes(model.SerializeToString())
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, **CLASSES}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 330}))
    return tmp_path


def by_sentencepiece(folder):
    from sentencepiece import SentencePieceProcessor

    own = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return [own.encode(text) for text in (*TEXTS, *BLANKS)]


def split(tokenizer):
    return [tokenizer.encode(text, add_special_tokens=False) for text in (*TEXTS, *BLANKS)]


def test_a_sentencepiece_model_is_read_by_its_own_scores(pieces, caplog, tmp_path_factory):
    wanted = by_sentencepiece(pieces)
    assert split(AutoTokenizer.from_pretrained(pieces)) != wanted
    with caplog.at_level(logging.WARNING):
        tokenizer = load(str(pieces), OPTIONS)
    assert split(tokenizer) == wanted
    assert re.search(rf"{pieces}: merges .*tokenizer\.model .*by score", caplog.text)
    saved = tmp_path_factory.mktemp("saved")
    tokenizer.save_pretrained(saved)
    assert split(load(str(saved), OPTIONS)) == wanted


def test_without_sentencepiece_its_model_is_refused_with_the_command(pieces, monkeypatch):
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", _not_installed)
    monkeypatch.setattr("unlearn_lab.config.libraries.version", _not_found)
    with pytest.raises(ValueError, match=r"sentencepiece.* not installed.*pip install"):
        load(str(pieces), OPTIONS)


def _not_installed(path, **options):
    raise ImportError("SentencePieceExtractor requires the SentencePiece library")


def _not_found(library):
    raise PackageNotFoundError(library)
