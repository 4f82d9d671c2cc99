"""Kinds of broken corpora: loading and the checker tell each by file, line and field."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from datasets import Dataset

from tests.data.corpora import custom, muse, muse_folder, own_folder, prompts, questions, texts
from tests.data.corpora import write as write_array
from unlearn_lab.data.check import main


@dataclass(frozen=True)
class Broken:
    """What is broken in a sound corpus, and the one problem that must be told."""

    name: str
    file: str
    break_it: Callable[[Path], object]
    told: str


def cut(file: Path) -> None:
    Dataset.from_dict({"text": texts("forget")}).to_parquet(file)
    file.write_bytes(file.read_bytes()[:-9])


CUSTOM = [
    Broken(
        "invalid JSON",
        "retain.json",
        lambda file: file.write_text('[\n"one",\n"two"\n"three"]'),
        ":4: invalid JSON (Expecting ',' delimiter, column 1)",
    ),
    Broken(
        "broken JSONL line",
        "forget.jsonl",
        lambda file: file.write_text('{"text": "one two three four five six"}\n{"text": "two}\n'),
        ":2: invalid JSON (Unterminated string starting at, column 10)",
    ),
    Broken(
        "missing field",
        "forget_questions.json",
        lambda file: write_array(file, [*questions("forget"), {"question": "why?"}]),
        ":27: [25].answer: missing; fields: question",
    ),
    Broken(
        "null",
        "holdout.json",
        lambda file: write_array(file, [{"text": "one"}, {"text": None}]),
        ":3: [1].text: is null; must be a text",
    ),
    Broken(
        "a number for a text",
        "retain_questions.json",
        lambda file: write_array(file, [*questions("retain"), {"question": "?", "answer": 1492}]),
        ":27: [25].answer: is a number; must be a text",
    ),
    Broken(
        "blank text",
        "forget.json",
        lambda file: write_array(file, [*texts("forget"), " \n"]),
        ":27: [25]: is blank",
    ),
    Broken(
        "not UTF-8",
        "retain.txt",
        lambda file: file.write_bytes("Grüße\naus Köln".encode("latin-1")),
        ":1: is not UTF-8 (byte 0xfc at offset 2); save it as UTF-8",
    ),
    Broken("empty file", "holdout.json", lambda file: file.write_text(""), ": is empty"),
    Broken(
        "no list",
        "forget.json",
        lambda file: file.write_text('\n{"text": "one"}'),
        (":1: must be a list [...] of texts or objects, and is an object"),
    ),
    Broken(
        "missing file",
        "holdout.json",
        lambda file: None,
        ": no such file, nor .jsonl, .csv, .parquet, .txt; dataset.holdout is needed",
    ),
    Broken(
        "leak",
        "retain.json",
        lambda file: write_array(file, [*texts("retain"), texts("forget")[7]]),
        ":27: [25]: is the same text as FOLDER/forget.json:9 ([7]); "
        "a text may be in one split only, unless dataset.allow_overlap=true",
    ),
    Broken("truncated parquet", "forget.parquet", cut, ": cannot be read as parquet ("),
    Broken(
        "prompt without continuation",
        "verbatim.json",
        lambda file: write_array(file, [*prompts(), {"prompt": "and then", "gt": ""}]),
        ":27: [25].gt: is blank",
    ),
]
MUSE = [
    Broken("missing part", "knowmem/retain_qa.json", lambda file: None, ": no such file"),
    Broken(
        "null in a question",
        "knowmem/forget_qa.json",
        lambda file: write_array(file, [*questions("forget"), {"question": None, "answer": "a"}]),
        ":27: [25].question: is null; must be a text",
    ),
    Broken(
        "text for an object",
        "verbmem/forget.json",
        lambda file: write_array(file, [*prompts(), "and then"]),
        ":27: [25]: is a text; must be an object with prompt and gt",
    ),
    Broken(
        "blank holdout text",
        "privleak/holdout.json",
        lambda file: write_array(file, [*texts("holdout"), ""]),
        ":27: [25]: is blank",
    ),
    Broken(
        "leak",
        "privleak/holdout.json",
        lambda file: write_array(file, [*texts("holdout"), texts("scored")[0]]),
        ":27: [25]: is the same text as FOLDER/privleak/forget.json:2 ([0]); "
        "a text may be in one split only, unless dataset.allow_overlap=true",
    ),
]


def both_tell(broken, folder, source, capsys):
    file = folder / broken.file
    for sound in folder.glob(f"{broken.file.split('.')[0]}.*"):
        sound.unlink()
    broken.break_it(file)
    told = f"{file}{broken.told}".replace("FOLDER", str(folder))
    with pytest.raises(ValueError, match=":") as refused:
        source(folder).load()
    assert main([str(folder)]) == 2
    printed = capsys.readouterr().out
    assert "Problems (1)" in printed
    if told.endswith("("):  # the reason is the library's
        assert str(refused.value).startswith(told)
        assert f"\n  {told}" in printed
    else:
        assert str(refused.value) == told
        assert f"\n  {told}\n" in printed


@pytest.mark.parametrize("broken", CUSTOM, ids=lambda broken: broken.name)
def test_a_broken_corpus_of_ones_own(tmp_path, capsys, broken):
    both_tell(broken, own_folder(tmp_path), custom, capsys)


@pytest.mark.parametrize("broken", MUSE, ids=lambda broken: broken.name)
def test_a_broken_corpus_in_the_layout_of_muse(tmp_path, capsys, broken):
    both_tell(broken, muse_folder(tmp_path), muse, capsys)
