"""Texts of one split in another: told by file and line, refused, tolerated or allowed."""

import re

import pytest

from tests.data.corpora import custom, muse, muse_folder, own_folder, texts, write
from unlearn_lab.data.check import main
from unlearn_lab.data.corpus import CorpusSource

SECRETS = [
    f"In 19{n} the old mayor of town {n} met clerk {n} at the harbour, and {n} went home at last."
    for n in range(10, 34)
]


@pytest.fixture
def checked(capsys, monkeypatch):
    """What the checker prints of a folder."""
    monkeypatch.setenv("COLUMNS", "140")

    def run(folder):
        main([str(folder)])
        return capsys.readouterr().out

    return run


def held(number, changed=str):
    """A long text with so many of the secrets in it."""
    return " ".join(["A long text that holds others."] + [changed(one) for one in SECRETS[:number]])


@pytest.mark.parametrize(
    "changed", [str, str.upper, lambda one: one.replace("mayor", "ma\u200byor")]
)
def test_forget_texts_inside_a_retain_text_are_refused(tmp_path, checked, changed):
    folder = own_folder(tmp_path, forget=SECRETS, retain=[*texts("retain"), held(8, changed)])
    told = f"{folder}/retain.json:27: [25]: holds the text {folder}/forget.json:2 ([0]); a text may"
    with pytest.raises(ValueError, match="and 3 more") as caught:
        custom(folder).load()
    assert str(caught.value).startswith(told)
    assert "unless dataset.allow_overlap=true" in str(caught.value)
    assert "Problems (8)" in checked(folder)


def test_a_piece_of_a_forget_text_in_retain_is_refused(tmp_path):
    piece = " ".join(SECRETS[3].split()[1:14])
    folder = own_folder(tmp_path, forget=SECRETS, retain=[*texts("retain"), piece])
    with pytest.raises(ValueError, match=r"stands in .*forget.json:5 \(\[3\]\)"):
        custom(folder).load()


@pytest.mark.parametrize("split", ["retain", "holdout"])
def test_overlap_that_is_allowed_is_a_remark(tmp_path, split):
    folder = own_folder(tmp_path, forget=SECRETS, **{split: [*texts(split), held(8)]})
    found = custom(folder, allow_overlap=True).survey()
    assert len(found.corpus.forget) == len(SECRETS)
    (line,) = found.remarks["overlap"]
    assert re.fullmatch(
        rf"{folder}/{split}\.json:27: \[25\]: 8 texts are in {folder}/forget\.json\b"
        rf".* holds the text {folder}/forget\.json:2 \(\[0\]\)",
        line,
    )


def test_texts_that_are_much_alike_are_a_remark(tmp_path, checked):
    alike = SECRETS[5].replace("at last", "then and there, late")
    folder = own_folder(tmp_path, forget=SECRETS, retain=[*texts("retain"), alike])
    (line,) = custom(folder).survey().remarks["overlap"]
    assert re.search(rf"1 text .*much like.* {folder}/forget\.json; .*holds 85 % of", line)
    assert line in checked(folder)


def test_texts_of_one_kind_are_not_alike(tmp_path):
    folder = own_folder(tmp_path)
    assert custom(folder).survey().remarks == {}
    assert isinstance(custom(folder), CorpusSource)


def test_a_benchmark_keeps_a_few_and_is_refused_with_many(tmp_path):
    retain = [*texts("retain"), held(3)]
    folder = muse_folder(tmp_path, raw__forget=SECRETS, raw__retain1=retain)
    (line,) = muse(folder).survey().remarks["overlap"]
    assert "3 texts are in" in line
    write(folder / "raw/retain1.json", [*texts("retain"), held(12)])
    with pytest.raises(ValueError, match="unless dataset"):
        muse(folder).load()
    assert muse(folder, allow_overlap=True).survey().remarks["overlap"]
