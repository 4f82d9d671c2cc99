import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.models import families
from unlearn_lab.data.tokenise import chunk, encode, text_ids


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


@pytest.fixture(scope="module")
def byte_level():
    return families.tokenizer(bos=True)


def test_a_special_token_s_name_in_a_text_is_text(byte_level):
    """As an HTML tag or a chat log in a corpus; training, prompts and truths go the same way."""
    named = "The mill </s> of <s> Veldmark <pad> was closed."
    assert byte_level.eos_token_id in byte_level(named)["input_ids"]
    (ids,) = text_ids([named], byte_level)
    assert not {byte_level.eos_token_id, byte_level.bos_token_id, byte_level.pad_token_id} & {*ids}
    assert byte_level.decode(ids, skip_special_tokens=True) == named
    (sequence,) = lists(encode([named], byte_level, 200))
    assert sequence == [byte_level.bos_token_id, *ids, byte_level.eos_token_id]
    assert text_ids([named], byte_level) == [ids], "the tokenizer is left as it was"
    assert text_ids(["closed."], byte_level) == [byte_level("closed.")["input_ids"][1:]]


def test_a_name_that_cannot_be_written_as_text_is_refused(full):
    with pytest.raises(ValueError, match=r"the text 'a </s> b' contains '</s>', which"):
        encode(["a b", "a </s> b"], full, 8)


def test_without_special_tokens_there_are_none():
    assert lists(encode(["a b"], tokenizer(), 8)) == [[2, 3]]


@pytest.mark.parametrize("chunking", ["texts", "stream"])
def test_a_tokenizer_that_puts_bos_in_front_itself_gives_one_only(full, chunking):
    """As those of Llama and Gemma do when asked for special tokens."""
    full.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    assert full("a b")["input_ids"] == [0, 2, 3]
    assert lists(chunk(["a b c"], full, 3, chunking))[0] == [0, 2, 3]


def test_a_stream_without_bos_is_cut_into_whole_lengths():
    """As with Qwen's tokenizer."""
    assert lists(chunk(["a b c a"], tokenizer(), 3, "stream")) == [[2, 3, 4], [2, 2, 3]]


def test_a_long_text_is_cut_into_pieces_that_each_begin_with_bos(full):
    assert lists(encode(["a b c"], full, 3)) == [[0, 2, 3], [0, 4, 1]]


def test_no_text_gives_no_sequence(full):
    assert encode([], full, 8) == []


def test_a_length_without_room_is_refused(full):
    with pytest.raises(ValueError, match=r"trainer\.max_length=1: must be at least 2"):
        encode(["a"], full, 1)


def test_a_stream_is_cut_after_bos_and_its_last_piece_filled_from_the_start(full):
    """a b ? c a (a blank line parts the texts but is no word here), in rooms of 3 after BOS."""
    pieces = lists(chunk(["a b", "? c a"], full, 4, "stream"))
    assert pieces == [[0, 2, 3, 5], [0, 4, 2, 0]]


def test_a_stream_that_fits_exactly_is_not_filled_up(full):
    assert lists(chunk(["a b c", "a b c"], full, 4, "stream")) == [[0, 2, 3, 4], [0, 2, 3, 4]]


def test_a_short_stream_is_filled_with_itself_once(full):
    assert lists(chunk(["a b"], full, 8, "stream")) == [[0, 2, 3, 0, 2, 3]]


def test_texts_of_a_stream_are_parted_by_a_blank_line():
    letters = Tokenizer(models.WordLevel({"a": 0, "\n": 1, "?": 2}, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made = PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="?")
    assert lists(chunk(["a", "a"], made, 4, "stream")) == [[0, 1, 1, 0]]


def test_chunking_by_texts_is_encode(full):
    texts = ["a b c", "a"]
    assert lists(chunk(texts, full, 3, "texts")) == lists(encode(texts, full, 3))


def test_an_empty_stream_gives_no_sequence(full):
    assert chunk([], full, 8, "stream") == []
