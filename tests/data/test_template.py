"""Questions become prompts as the tokenizer's chat template or plain text has them."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.data.corpora import ROLES
from unlearn_lab.data.batch import Answered, pad, split
from unlearn_lab.data.corpus import PLAIN, Corpus, Question, Template
from unlearn_lab.data.template import answer_ids, is_chat, question_ids
from unlearn_lab.data.training import training_sequences

CHAT = Template(kind="chat", system="Be brief.", date="10 Apr 2025")
DATED = (
    "{{ bos_token }}{% for m in messages %}"
    "[{{ m.role }}{% if m.role == 'system' %} {{ date_string }}{% endif %}]{{ m.content | trim }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"


@pytest.fixture
def make_tokenizer():
    """Builds a byte-level tokenizer, where text and tokens are one to one."""

    def make(chat_template=None, **special):
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {token: place for place, token in enumerate(["<s>", "</s>", *alphabet])}
        bytewise = Tokenizer(models.BPE(vocabulary, []))
        bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bytewise.decoder = decoders.ByteLevel()
        special = {"bos_token": "<s>", "eos_token": "</s>"} | special
        return PreTrainedTokenizerFast(
            tokenizer_object=bytewise, chat_template=chat_template, **special
        )

    return make


def shown(tokenizer, ids):
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def test_a_chat_has_the_system_prompt_and_a_fixed_date(make_tokenizer):
    tokenizer = make_tokenizer(DATED)
    prompt = question_ids("Who?", CHAT, tokenizer)
    assert shown(tokenizer, prompt) == ("<s>[system 10 Apr 2025]Be brief.\n[user]Who?\n[assistant]")
    assert shown(tokenizer, answer_ids("Who?", "Ada.", CHAT, tokenizer)) == "Ada.</s>"
    bare = Template(kind="chat", system=None, date="")
    assert shown(tokenizer, question_ids("Who?", bare, tokenizer)) == "<s>[user]Who?\n[assistant]"


def test_examples_are_earlier_turns_of_a_chat_and_stand_before_a_plain_question(make_tokenizer):
    tokenizer = make_tokenizer(DATED)
    known = [Question("Where?", "Here."), Question("When?", "Now.")]
    bare = Template(kind="chat", system=None, date="")
    assert shown(tokenizer, question_ids("Who?", bare, tokenizer, known)) == (
        "<s>[user]Where?\n[assistant]Here.</s>\n[user]When?\n[assistant]Now.</s>\n"
        "[user]Who?\n[assistant]"
    )
    assert shown(tokenizer, question_ids("Who?", PLAIN, tokenizer, known)) == (
        "<s>Question: Where?\nAnswer: Here.\n\nQuestion: When?\nAnswer: Now.\n\n"
        "Question: Who?\nAnswer:"
    )
    with pytest.raises(ValueError, match=r"'In <s>\.' contains '<s>'"):
        question_ids("Who?", bare, tokenizer, [Question("Where?", "In <s>.")])


def test_plain_text_has_the_blank_before_the_answer(make_tokenizer):
    tokenizer = make_tokenizer()
    assert shown(tokenizer, question_ids("Who?", PLAIN, tokenizer)) == "<s>Question: Who?\nAnswer:"
    assert shown(tokenizer, answer_ids("Who?", "Ada.", PLAIN, tokenizer)) == " Ada.</s>"
    without = make_tokenizer(bos_token=None, eos_token=None)
    assert shown(without, question_ids("Who?", PLAIN, without)) == "Question: Who?\nAnswer:"
    assert shown(without, answer_ids("Who?", "Ada.", PLAIN, without)) == " Ada."


def test_a_tokenizer_that_begins_texts_with_a_blank_puts_one_before_an_answer():
    words = ["<s>", "</s>", "▁", "▁Question:", "▁Who?", "▁Answer:", "▁Ada."]
    unigram = Tokenizer(models.Unigram([(word, -1.0) for word in words], 0))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    unigram.normalizer = normalizers.Replace("\n", " ")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=unigram, bos_token="<s>", eos_token="</s>")
    assert tokenizer.convert_ids_to_tokens(answer_ids("Who?", "Ada.", PLAIN, tokenizer)) == [
        "▁Ada.", "</s>"
    ]  # fmt: skip


@pytest.mark.parametrize(("template", "chat"), [(None, False), (DATED, True)])
def test_auto_is_a_chat_where_there_is_a_template(make_tokenizer, template, chat):
    auto = Template(kind="auto", system=None, date="")
    assert is_chat(auto, make_tokenizer(template)) == chat


@pytest.mark.parametrize(
    ("template", "question", "message"),
    [
        (None, "Who?", "template=chat: the tokenizer has no chat template; .*template=plain"),
        (NO_SYSTEM, "Who?", r"cannot be applied \(no system\); set dataset.system_prompt=null"),
        (DATED.replace("{{ eos_token }}", "<end>"), "Who?", "continues with 'An answer.<end>"),
        (DATED, "Who is </s>?", "contains '</s>', which a chat template would turn into a special"),
    ],
)
def test_what_cannot_be_asked_in_a_chat_is_refused(make_tokenizer, template, question, message):
    with pytest.raises(ValueError, match=message):
        question_ids(question, CHAT, make_tokenizer(template))


def test_an_unknown_template_is_refused():
    with pytest.raises(ValueError, match="template=llama: must be one of auto, chat, plain"):
        Template(kind="llama", system=None, date="")


def corpus(**changed):
    return Corpus(**{**dict.fromkeys(ROLES, ()), **changed})


def test_pairs_come_after_texts_and_are_not_cut(make_tokenizer):
    tokenizer = make_tokenizer()
    told = corpus(
        forget=("ab",),
        forget_pairs=(Question("Q?", "A"),),
        retain_pairs=(Question("R?", "B"), Question("S?", "C")),
    )
    found = training_sequences(told, ["forget", "retain"], tokenizer, 40, "texts")
    texts = [shown(tokenizer, one.ids if isinstance(one, Answered) else one) for one in found]
    assert texts == [
        "<s>ab</s>",
        *(f"<s>Question: {q}?\nAnswer: {a}</s>" for q, a in (("Q", "A"), ("R", "B"), ("S", "C"))),
    ]
    assert [one.prompt for one in found[1:]] == [1 + len("Question: Q?\nAnswer:")] * 3
    assert told.texts("retain") == ("Question: R?\nAnswer: B", "Question: S?\nAnswer: C")
    with pytest.raises(ValueError, match=r"max_length=20: the question 'Q\?' .* have 24 tokens"):
        training_sequences(told, ["forget"], tokenizer, 20, "texts")


def test_only_answers_are_predicted():
    sequences = [
        Answered(ids=torch.arange(6), prompt=4),
        torch.arange(3),
        Answered(ids=torch.arange(4), prompt=1),
    ]
    batch = pad(sequences, [7, 8, 9], 0)
    wanted = [[0, 0, 0, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert batch.predicted.int().tolist() == wanted
    assert batch.real.sum().item() == 13
    assert batch.size == (3, 7)
    first, second = split({"forget": batch}, 2)
    assert first["forget"].predicted.int().tolist() == wanted[:2]
    assert second["forget"].predicted.int().tolist() == [wanted[2][:3]]
    assert second["forget"].size == (3, 7)
    assert pad([torch.arange(3)], [0], 0).prompt is None
