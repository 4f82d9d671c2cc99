"""The embedded corpus: what it promises to the metrics, and what it refuses."""

import dataclasses
import hashlib
import random
import re
from collections.abc import Mapping

import pytest

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.gazette import Gazette

VALUES: Mapping[str, int] = {
    "seed": 0,
    "num_forget": 12,
    "num_retain": 20,
    "num_holdout": 6,
    "num_questions": 30,
    "num_examples": 4,
    "num_column_pairs": 5,
    "num_editions": 3,
    "num_fillers": 1,
    "prompt_words": 14,
}


def gazette(**changes: int) -> Gazette:
    return Gazette(**{**VALUES, **changes})


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def names(texts: tuple[str, ...]) -> set[str]:
    """The people that question columns ask about."""
    return {
        name
        for text in texts
        for name in re.findall(r"([A-Z]\w+ [A-Z]\w+)[? ]", "\n".join(questions(text)))
    }


def questions(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("Question: ")]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return gazette().load()


def test_equal_values_give_the_equal_corpus_and_another_seed_another(corpus: Corpus) -> None:
    assert gazette().load() == corpus
    assert set(gazette(seed=1).load().forget).isdisjoint(corpus.forget)


def test_the_global_random_state_is_not_read(corpus: Corpus) -> None:
    random.seed(5)
    assert gazette().load() == corpus


def test_the_generated_text_is_pinned(corpus: Corpus) -> None:
    """A changed text changes results under an unchanged key: raise the builder's version."""
    digest = hashlib.sha256(repr(dataclasses.astuple(corpus)[:9]).encode()).hexdigest()
    assert digest == "f54324b9127cf80d5b5057ff58c664fb580a742d3e0de335d0d0abdcbe22aa7a"


def test_counts(corpus: Corpus) -> None:
    columns_of_12, columns_of_20 = -(-12 * 4 // 5) * 3, -(-20 * 4 // 5) * 3
    assert len(corpus.forget) == 12 + columns_of_12
    assert len(corpus.retain) == 20 + columns_of_20
    assert corpus.forget[:12] == corpus.forget_documents
    assert len(corpus.verbatim) == len(corpus.forget_documents) == 12
    assert len(corpus.holdout_documents) == 6
    assert len(corpus.forget_questions) == len(corpus.retain_questions) == 30
    assert len(corpus.forget_examples) == len(corpus.retain_examples) == 4


def test_texts_do_not_repeat(corpus: Corpus) -> None:
    texts = (*corpus.forget, *corpus.retain, *corpus.holdout_documents)
    assert len(set(texts)) == len(texts)
    asked = (
        *corpus.forget_questions,
        *corpus.retain_questions,
        *corpus.forget_examples,
        *corpus.retain_examples,
    )
    assert len({pair.question for pair in asked}) == len(asked)


def test_nobody_is_in_two_splits(corpus: Corpus) -> None:
    forget, retain = names(corpus.forget), names(corpus.retain)
    assert (len(forget), len(retain)) == (12, 20)
    surnames = [{name.split()[1] for name in people} for people in (forget, retain)]
    assert surnames[0].isdisjoint(surnames[1])
    holdout = words(" ".join(corpus.holdout_documents))
    assert not holdout & (surnames[0] | surnames[1])


@pytest.mark.parametrize("seed", range(3))
def test_no_forget_answer_leaks_into_the_retain_or_holdout_texts(seed: int) -> None:
    corpus = gazette(seed=seed, num_forget=24, num_retain=48, num_questions=80).load()
    others = "\n".join((*corpus.retain, *corpus.holdout_documents))
    for pair in (*corpus.forget_questions, *corpus.forget_examples):
        assert not re.search(rf"\b{pair.answer}\b", others), pair


def test_every_answer_is_told_by_the_article_on_the_person_asked_about(corpus: Corpus) -> None:
    articles = {
        split: getattr(corpus, split)[: VALUES[f"num_{split}"]] for split in ("forget", "retain")
    }
    for split, told in articles.items():
        for pair in (*getattr(corpus, f"{split}_questions"), *getattr(corpus, f"{split}_examples")):
            answering = [article for article in told if re.search(rf"\b{pair.answer}\b", article)]
            assert len(answering) == 1
            assert [name for name in names((f"Question: {pair.question}",)) if name in answering[0]]


def test_every_answer_is_printed_once_an_edition_in_changing_company(corpus: Corpus) -> None:
    columns = corpus.forget[12:]
    for pair in corpus.forget_questions:
        block = f"Question: {pair.question}\nAnswer: {pair.answer}\n\n"
        printed = [column for column in columns if block in column]
        assert len(printed) == 3
        assert len(set(printed)) == 3


def test_a_column_mixes_people_and_is_made_like_a_few_shot_prompt(corpus: Corpus) -> None:
    block = re.compile(r"Question: [^\n]+\?\nAnswer: [^\n]+\n\n")
    full = [column for column in corpus.forget[12:] if len(questions(column)) == 5]
    assert len(full) >= 27
    assert all(block.sub("", column) == "" for column in full)
    assert sum(len(names((column,))) for column in full) / len(full) > 3


def test_examples_are_about_people_who_are_not_asked_about(corpus: Corpus) -> None:
    for split in ("forget", "retain"):
        shown = names(
            tuple(f"Question: {pair.question}" for pair in getattr(corpus, f"{split}_examples"))
        )
        asked = names(
            tuple(f"Question: {pair.question}" for pair in getattr(corpus, f"{split}_questions"))
        )
        assert len(shown) == 4
        assert shown.isdisjoint(asked)


def test_a_verbatim_prompt_names_the_person_and_continues_to_the_end(corpus: Corpus) -> None:
    people = names(corpus.forget)
    for prompt, article in zip(corpus.verbatim, corpus.forget_documents, strict=True):
        assert prompt.prompt + prompt.continuation == article
        assert len(prompt.prompt.split()) == 14
        assert any(person in prompt.prompt for person in people)


@pytest.mark.parametrize("seed", range(4))
def test_the_shortest_prompt_allowed_still_names_the_person(seed: int) -> None:
    corpus = gazette(seed=seed, num_forget=60, num_retain=60, prompt_words=10).load()
    people = names(corpus.forget)
    assert all(any(person in prompt.prompt for person in people) for prompt in corpus.verbatim)


def test_every_slot_is_filled(corpus: Corpus) -> None:
    assert not re.search(
        r"[{}]", "".join((*corpus.forget, *corpus.retain, *corpus.holdout_documents))
    )


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("seed", -1, "at least 0"),
        ("num_forget", 4, "from 5 to 100"),
        ("num_forget", 101, "from 5 to 100"),
        ("num_retain", 0, "at least 1"),
        ("num_holdout", 0, "from 1 to 100"),
        ("num_questions", 33, "from 1 to 32"),
        ("num_examples", -1, "at least 0"),
        ("num_column_pairs", 0, "at least 1"),
        ("num_editions", 0, "at least 1"),
        ("num_fillers", 6, "from 0 to 5"),
        ("prompt_words", 9, "from 10 to 20"),
        ("prompt_words", 21, "from 10 to 20"),
    ],
)
def test_an_impossible_value_is_refused_with_field_value_and_what_is_allowed(
    field: str, value: int, allowed: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{field}={value!r}: .*{allowed}$"):
        gazette(**{field: value})


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_corpus_has_enough_people_and_no_two_share_an_answer(seed: int) -> None:
    most = {"num_forget": 100, "num_retain": 100, "num_holdout": 100, "num_questions": 384}
    corpus = gazette(seed=seed, **most).load()
    assert len(corpus.holdout_documents) == 100
    asked = (*corpus.forget_questions, *corpus.retain_questions)
    told = [word for pair in asked for word in re.findall(r"\b[A-Z]\w{4,}\b", pair.answer)]
    surnames = [name.split()[1] for name in names((*corpus.forget, *corpus.retain))]
    assert len(surnames) == 200
    assert len({*told, *surnames}) == len(told) + len(surnames)
