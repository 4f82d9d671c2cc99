"""KnowMem on scripted answers: the prompt, the cut and the score of either split."""

import re
from dataclasses import replace

import pytest

from unlearn_lab.data.asking import cut_answer
from unlearn_lab.data.corpus import Corpus, Template
from unlearn_lab.evaluate.knowmem import KnowMem
from unlearn_lab.evaluate.metric import Metric

FORGET = KnowMem(split="forget", num_tokens=32, answer_cue="Answer:")
RETAIN = replace(FORGET, split="retain")

SHOWN = "Question: Why?\nAnswer: because\n\nQuestion: When?\nAnswer: now\n\n"


def test_asks_after_the_examples_of_its_split(corpus: Corpus) -> None:
    metric: Metric = FORGET
    assert [request.prompt for request in FORGET.requests(corpus)] == [
        f"{SHOWN}Question: Who?\nAnswer:",
        f"{SHOWN}Question: Where?\nAnswer:",
    ]
    assert {request.num_tokens for request in metric.requests(corpus)} == {32}
    assert [request.prompt for request in RETAIN.requests(corpus)] == ["Question: What?\nAnswer:"]


def test_the_cue_ends_the_question_asked_and_not_the_examples(corpus: Corpus) -> None:
    metric = replace(FORGET, answer_cue="Answer: ")
    assert metric.requests(corpus)[0].prompt == f"{SHOWN}Question: Who?\nAnswer: "


def test_in_a_chat_the_question_is_asked_alone_and_examples_are_given_apart(corpus: Corpus) -> None:
    chat = Template(kind="chat", system=None, date="")
    asked = FORGET.requests(replace(corpus, template=chat))
    assert [(request.prompt, request.template) for request in asked] == [
        ("Who?", chat),
        ("Where?", chat),
    ]
    assert {request.examples for request in asked} == {corpus.forget_examples}
    (alone,) = RETAIN.requests(replace(corpus, template=chat))
    assert (alone.prompt, alone.examples) == ("What?", ())


def test_says_what_it_misses(corpus: Corpus) -> None:
    bare = replace(corpus, retain_questions=(), forget_examples=())
    assert FORGET.missing(bare) is None
    assert re.search("no questions .*retain", RETAIN.missing(bare))


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (" Ann Lee\n\nQuestion: Who", "Ann Lee"),
        (" Ann Lee\nQuestion: Who", "Ann Lee"),
        (" Ann Lee Question: Who", "Ann Lee"),
        (" Ann\nLee", "Ann\nLee"),
        (" No question\nQuest", "No question\nQuest"),
        ("Question: Who?", ""),
    ],
)
def test_answers_end_where_another_question_begins(text: str, cut: str) -> None:
    assert cut_answer(text) == cut


def test_scores_the_cut_answers(corpus: Corpus, scripted: type) -> None:
    """The name is right; "in Oslo" has 1 of 2 words: F1 50; mean 75."""
    first, second = (request.prompt for request in FORGET.requests(corpus))
    answers = scripted(texts={first: " Ann Lee\n\nQuestion: x", second: " in Oslo"}, scores={})
    score = FORGET.score(corpus, answers)
    assert (score.value, score.per_item) == (75.0, (100.0, 50.0))
    assert score.items[1] == {
        "question": "Where?",
        "answer": "in Oslo",
        "true": "in Rome",
        "score": 50.0,
    }


def test_scores_the_retain_split(corpus: Corpus, scripted: type) -> None:
    (prompt,) = (request.prompt for request in RETAIN.requests(corpus))
    assert RETAIN.score(corpus, scripted(texts={prompt: " a cat"}, scores={})).value == 100.0


@pytest.mark.parametrize("split", ["forget", "retain"])
def test_refuses_a_split_without_questions(corpus: Corpus, scripted: type, split: str) -> None:
    empty = replace(corpus, forget_questions=(), retain_questions=())
    with pytest.raises(ValueError, match=f"corpus.{split}_questions is empty"):
        replace(FORGET, split=split).score(empty, scripted(texts={}, scores={}))


def test_refuses_impossible_settings() -> None:
    with pytest.raises(ValueError, match=r"split='holdout': .*one of forget, retain"):
        replace(FORGET, split="holdout")
    with pytest.raises(ValueError, match="num_tokens=0: must be at least 1"):
        replace(FORGET, num_tokens=0)
