"""Kinds of broken corpora: loading and the checker tell each by file, line and field."""

import re
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
    """What is broken in a sound corpus, and the pattern of the one problem that must be told."""

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
        r":4: invalid JSON .*',' delimiter.* column 1\b",
    ),
    Broken(
        "broken JSONL line",
        "forget.jsonl",
        lambda file: file.write_text('{"text": "one two three four five six"}\n{"text": "two}\n'),
        r":2: invalid JSON .*Unterminated string.* column 10\b",
    ),
    Broken(
        "missing field",
        "forget_questions.json",
        lambda file: write_array(file, [*questions("forget"), {"question": "why?"}]),
        r":27: \[25\]\.answer: missing; fields: question$",
    ),
    Broken(
        "null",
        "holdout.json",
        lambda file: write_array(file, [{"text": "one"}, {"text": None}]),
        r":3: \[1\]\.text: is null\b.* a text$",
    ),
    Broken(
        "a number for a text",
        "retain_questions.json",
        lambda file: write_array(file, [*questions("retain"), {"question": "?", "answer": 1492}]),
        r":27: \[25\]\.answer: is a number\b.* a text$",
    ),
    Broken(
        "blank text",
        "forget.json",
        lambda file: write_array(file, [*texts("forget"), " \n"]),
        r":27: \[25\]: is blank$",
    ),
    Broken(
        "not UTF-8",
        "retain.txt",
        lambda file: file.write_bytes("Grüße\naus Köln".encode("latin-1")),
        r":1: is not UTF-8 .*0xfc .*offset 2\b",
    ),
    Broken("empty file", "holdout.json", lambda file: file.write_text(""), ": is empty$"),
    Broken(
        "no list",
        "forget.json",
        lambda file: file.write_text('\n{"text": "one"}'),
        r":1: .* list \[\.\.\.\] .*is an object$",
    ),
    Broken(
        "missing file",
        "holdout.json",
        lambda file: None,
        r": no such file, .*\.jsonl, \.csv, \.parquet, \.txt; dataset\.holdout .*needed$",
    ),
    Broken(
        "leak",
        "retain.json",
        lambda file: write_array(file, [*texts("retain"), texts("forget")[7]]),
        r":27: \[25\]: .*same text.* FOLDER/forget\.json:9 \(\[7\]\); "
        r".*one split.* dataset\.allow_overlap=true$",
    ),
    Broken("truncated parquet", "forget.parquet", cut, r": cannot be read.* parquet \("),
    Broken(
        "prompt without continuation",
        "verbatim.json",
        lambda file: write_array(file, [*prompts(), {"prompt": "and then", "gt": ""}]),
        r":27: \[25\]\.gt: is blank$",
    ),
]
MUSE = [
    Broken("missing part", "knowmem/retain_qa.json", lambda file: None, ": no such file$"),
    Broken(
        "null in a question",
        "knowmem/forget_qa.json",
        lambda file: write_array(file, [*questions("forget"), {"question": None, "answer": "a"}]),
        r":27: \[25\]\.question: is null\b.* a text$",
    ),
    Broken(
        "text for an object",
        "verbmem/forget.json",
        lambda file: write_array(file, [*prompts(), "and then"]),
        r":27: \[25\]: is a text\b.* object .*prompt and gt$",
    ),
    Broken(
        "blank holdout text",
        "privleak/holdout.json",
        lambda file: write_array(file, [*texts("holdout"), ""]),
        r":27: \[25\]: is blank$",
    ),
    Broken(
        "leak",
        "privleak/holdout.json",
        lambda file: write_array(file, [*texts("holdout"), texts("scored")[0]]),
        r":27: \[25\]: .*same text.* FOLDER/privleak/forget\.json:2 \(\[0\]\); "
        r".*one split.* dataset\.allow_overlap=true$",
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
    assert re.match(told, str(refused.value))
    assert f"\n  {refused.value}\n" in printed


@pytest.mark.parametrize("broken", CUSTOM, ids=lambda broken: broken.name)
def test_a_broken_corpus_of_ones_own(tmp_path, capsys, broken):
    both_tell(broken, own_folder(tmp_path), custom, capsys)


@pytest.mark.parametrize("broken", MUSE, ids=lambda broken: broken.name)
def test_a_broken_corpus_in_the_layout_of_muse(tmp_path, capsys, broken):
    both_tell(broken, muse_folder(tmp_path), muse, capsys)
