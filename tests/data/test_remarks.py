"""What keeps metrics from measuring a corpus is said by file and line."""

import pytest

from tests.data.corpora import custom, muse, muse_folder, own_folder, prompts, questions, texts
from unlearn_lab.data.asking import unanswerable
from unlearn_lab.data.check import main
from unlearn_lab.data.corpus import Corpus, Question
from unlearn_lab.data.gazette import Gazette
from unlearn_lab.data.remarks import survey

RUSSIAN = "Жил-был король, и было у него три сына"


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (
            {"forget": [*texts("forget"), texts("forget")[0].upper()]},
            "FOLDER/forget.json: 1 of 26 (at 27 [25]) repeat an earlier one, 27 [25] that at "
            "2 [0]; the intervals of VerbMem and PrivLeak take them for independent and are too "
            "narrow",
        ),
        (
            {"verbatim": prompts(3) * 2},
            "FOLDER/verbatim.json: 3 of 6 (at 5 [3], 6 [4], 7 [5]) repeat an earlier one, 5 "
            "[3] that at 2 [0]; the intervals of VerbMem take",
        ),
        (
            {"forget_questions": questions("forget") * 2},
            "FOLDER/forget_questions.json: 25 of 50 (at 27 [25], 28 [26], 29 [27], ...) repeat "
            "an earlier one, 27 [25] that at 2 [0]; the intervals of KnowMem",
        ),
        (
            {"holdout": [*texts("holdout")] * 2},
            "FOLDER/holdout.json: 25 of 50 (at 27 [25], 28 [26], 29 [27], ...)",
        ),
    ],
)
def test_items_that_stand_twice(tmp_path, parts, line):
    folder = own_folder(tmp_path, **parts)
    found = custom(folder).survey().remarks["repeats"]
    assert [one for one in found if one.startswith(line.replace("FOLDER", str(folder)))]


def test_the_same_question_with_another_answer_is_no_repeat(tmp_path):
    asked = [{"question": "Which?", "answer": f"no {n}"} for n in range(25)]
    folder = own_folder(tmp_path, forget_questions=asked)
    assert custom(folder).survey().remarks == {}


@pytest.mark.parametrize("text", [RUSSIAN, "昔々あるところに", "كان هناك ملك"])
def test_scripts_that_rouge_does_not_count(tmp_path, text):
    folder = own_folder(tmp_path, verbatim=[*prompts(), {"prompt": "It", "gt": text}])
    (line,) = custom(folder).survey().remarks["script"]
    assert line == (
        f"{folder}/verbatim.json: 1 of 26 (at 27 [25]) have hardly a letter a-z or a digit, the "
        "only ones that ROUGE counts; VerbMem would be 0 on them"
    )


def test_a_folder_in_the_layout_of_muse(tmp_path):
    folder = muse_folder(tmp_path, knowmem__forget_qa=questions("forget", 5) * 2)
    found = muse(folder).survey()
    assert len(found.corpus.forget_questions) == 10
    assert found.remarks.keys() == {"repeats"}
    assert found.remarks["repeats"][0].startswith(f"{folder}/knowmem/forget_qa.json: 5 of 10")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ("one\n\ntwo", r"true answers hold what ends an answer (\n\n, \nQuestion, Question:)"),
        ("Question: none", r"true answers hold what ends an answer (\n\n, \nQuestion, Question:)"),
        ("word " * 33, "true answers are longer than an answer may be (32 tokens)"),
    ],
)
def test_answers_that_no_model_can_give(tmp_path, capsys, answer, what):
    asked = [*questions("forget"), {"question": "Which?", "answer": answer}]
    folder = own_folder(tmp_path, forget_questions=asked, retain_questions=questions("retain"))
    assert main([str(folder)]) == 0
    line = f"{folder}/forget_questions.json: 1 of 26 (at 27 [25]) {what}; KnowMem cannot be 100"
    assert line in capsys.readouterr().out


def test_an_answer_as_long_as_is_allowed_can_be_given():
    answers = ["one two three", "one two", "  one  "]
    assert unanswerable(answers, 3, lambda text: len(text.split())) == {}
    found = unanswerable(answers, 2, lambda text: len(text.split()))
    assert list(found.values()) == [[0]]


def test_a_corpus_from_no_file_is_surveyed_by_number():
    whole = Gazette(**GAZETTE).load()
    assert survey(whole).remarks == {}
    asked = (Question("Who?", RUSSIAN), Question("Who?", RUSSIAN))
    corpus = Corpus(**{**vars(whole), "forget_questions": asked, "retain": whole.forget})
    found = survey(corpus).remarks
    assert found["repeats"][0].startswith("forget_questions: 1 of 2 (at 2) repeat an earlier one")
    assert found["script"][0].startswith("forget_questions: 2 of 2 (at 1, 2) have hardly")
    assert "93 texts are in forget too" in found["overlap"][0]


GAZETTE = {
    "seed": 0,
    "num_forget": 20,
    "num_retain": 40,
    "num_holdout": 20,
    "num_questions": 64,
    "num_examples": 3,
    "num_column_pairs": 6,
    "num_editions": 5,
    "num_fillers": 1,
    "prompt_words": 12,
}
