"""Texts are recognised inside others, however they were cut, spaced, cased or encoded."""

import pytest

from unlearn_lab.data.runs import Index, words

SECRET = "In 1900 the old mayor of Brill met nobody at the harbour, and so he went home again."
LONG = f"A first sentence of many that say nothing. {SECRET} A last one that says as little."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The Mayor's\u00a0home,\n again", ["the", "mayor", "s", "home", "again"]),
        ("har\u200bbour", ["harbour"]),
        ("ﬁnal", ["final"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("東京と", ["東", "京", "と"]),
        ("Привет, мир", ["привет", "мир"]),
        ("snake_case", ["snake", "case"]),
        ("...", []),
    ],
)
def test_words(text, found):
    assert words(text) == found


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET.upper(),
        SECRET.replace(" ", "\n  "),
        SECRET.replace("harbour", "har\u200bbour"),
        SECRET.replace(",", " -"),
        " ".join(SECRET.split()[2:12]),
        "met nobody at the harbour",  # fewer words than a run
    ],
)
def test_a_text_is_found_inside_a_longer_one(text):
    assert Index(["Something else altogether.", LONG]).share(text) == (1.0, 1)


def test_most_of_a_text_is_found_too():
    share, place = Index([LONG]).share(SECRET.replace("harbour", "market"))
    assert 0.1 < share < 0.9
    assert place == 0


def test_the_text_that_holds_most_is_named():
    half = " ".join(SECRET.split()[:9])
    assert Index([half, LONG]).share(SECRET)[1] == 1


@pytest.mark.parametrize("text", ["", "...", "old mayor", "nobody said a word of it to anybody"])
def test_what_is_no_text_of_them_is_not_found(text):
    assert Index([LONG]).share(text) == (0.0, 0)


def test_few_words_are_found_as_a_whole_only():
    index = Index(["Article 3.", "Article 4, and more of it."])
    assert index.share("article 3") == (1.0, 0)
    assert index.share("article 4") == (0.0, 0)


def test_scripts_without_blanks_are_cut_into_characters():
    secret = "昔々あるところにお爺さんとお婆さんが住んでいました"
    assert Index([f"これは{secret}という話"]).share(secret) == (1.0, 0)
