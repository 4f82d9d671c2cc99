"""What keeps metrics from measuring a corpus is said by file and line."""

import re

import pytest

from tests.data.corpora import custom, muse, muse_folder, own_folder, prompts, questions, texts
from unlearn_lab.data.asking import unanswerable
from unlearn_lab.data.check import main
from unlearn_lab.data.corpus import Corpus, Question
from unlearn_lab.data.gazette import Gazette
from unlearn_lab.data.remarks import survey

RUSSIAN = "Жил-был король, и было у него три сына"


@pytest.mark.parametrize(
    ("parts", "place", "reason"),
    [
        (
            {"forget": [*texts("forget"), texts("forget")[0].upper()]},
            "forget.json: 1 of 26 (at 27 [25])",
            r"27 \[25\] .*2 \[0\]; .*intervals of VerbMem and PrivLeak .*independent .*too narrow$",
        ),
        (
            {"verbatim": prompts(3) * 2},
            "verbatim.json: 3 of 6 (at 5 [3], 6 [4], 7 [5])",
            r"5 \[3\] .*2 \[0\]; .*intervals of VerbMem (?!and)",
        ),
        (
            {"forget_questions": questions("forget") * 2},
            "forget_questions.json: 25 of 50 (at 27 [25], 28 [26], 29 [27], ...)",
            r"27 \[25\] .*2 \[0\]; .*intervals of KnowMem\b",
        ),
        (
            {"holdout": [*texts("holdout")] * 2},
            "holdout.json: 25 of 50 (at 27 [25], 28 [26], 29 [27], ...)",
            r"27 \[25\] .*2 \[0\]; .*intervals of PrivLeak\b",
        ),
    ],
)
def test_items_that_stand_twice(tmp_path, parts, place, reason):
    folder = own_folder(tmp_path, **parts)
    found = custom(folder).survey().remarks["repeats"]
    (line,) = [one for one in found if one.startswith(f"{folder}/{place} repeat ")]
    assert re.search(reason, line)


def test_the_same_question_with_another_answer_is_no_repeat(tmp_path):
    asked = [{"question": "Which?", "answer": f"no {n}"} for n in range(25)]
    folder = own_folder(tmp_path, forget_questions=asked)
    assert custom(folder).survey().remarks == {}


@pytest.mark.parametrize("text", [RUSSIAN, "昔々あるところに", "كان هناك ملك"])
def test_scripts_that_rouge_does_not_count(tmp_path, text):
    folder = own_folder(tmp_path, verbatim=[*prompts(), {"prompt": "It", "gt": text}])
    (line,) = custom(folder).survey().remarks["script"]
    assert line.startswith(f"{folder}/verbatim.json: 1 of 26 (at 27 [25]) ")
    assert re.search(r"letter a-z\b.* ROUGE .*VerbMem .*\b0\b", line)


def test_a_folder_in_the_layout_of_muse(tmp_path):
    folder = muse_folder(tmp_path, knowmem__forget_qa=questions("forget", 5) * 2)
    found = muse(folder).survey()
    assert len(found.corpus.forget_questions) == 10
    assert found.remarks.keys() == {"repeats"}
    assert found.remarks["repeats"][0].startswith(f"{folder}/knowmem/forget_qa.json: 5 of 10")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ("one\n\ntwo", r"true answers .*ends .*\(\\n\\n, \\nQuestion, Question:\)"),
        ("Question: none", r"true answers .*ends .*\(\\n\\n, \\nQuestion, Question:\)"),
        ("word " * 33, r"true answers .*longer .*\(32 tokens\)"),
    ],
)
def test_answers_that_no_model_can_give(tmp_path, capsys, answer, what):
    asked = [*questions("forget"), {"question": "Which?", "answer": answer}]
    folder = own_folder(tmp_path, forget_questions=asked, retain_questions=questions("retain"))
    assert main([str(folder)]) == 0
    line = rf"{folder}/forget_questions\.json: 1 of 26 \(at 27 \[25\]\) {what}; KnowMem .*\b100\b"
    assert re.search(line, capsys.readouterr().out)


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
    assert found["repeats"][0].startswith("forget_questions: 1 of 2 (at 2) repeat")
    assert re.match(r"forget_questions: 2 of 2 \(at 1, 2\) .*letter a-z\b", found["script"][0])
    assert "93 texts are in forget" in found["overlap"][0]


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
