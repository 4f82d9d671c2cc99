import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from unlearn_lab.data.tokenise import encode


def tokenizer(**special):
    words = Tokenizer(
        models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4, "?": 5}, unk_token="?")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?", **special)


@pytest.fixture
def full():
    return tokenizer(bos_token="<s>", eos_token="</s>")


def lists(sequences):
    return [sequence.tolist() for sequence in sequences]


def test_a_text_begins_with_bos_and_ends_with_eos(full):
    assert lists(encode(["a b", "c"], full, 8)) == [[0, 2, 3, 1], [0, 4, 1]]


def test_without_special_tokens_there_are_none():
    assert lists(encode(["a b"], tokenizer(), 8)) == [[2, 3]]


def test_a_long_text_is_cut_into_pieces_that_each_begin_with_bos(full):
    assert lists(encode(["a b c"], full, 3)) == [[0, 2, 3], [0, 4, 1]]


def test_no_text_gives_no_sequence(full):
    assert encode([], full, 8) == []


def test_a_length_without_room_is_refused(full):
    with pytest.raises(ValueError, match=r"trainer\.max_length=1: must be at least 2"):
        encode(["a"], full, 1)
