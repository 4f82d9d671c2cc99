"""The checker: what it prints of a sound corpus, what it warns of, and what it writes."""

import os
import re
import subprocess
import sys

import pytest

from tests.data.corpora import custom, muse, muse_folder, own_folder, prompts, questions, write
from unlearn_lab.data.check import main


@pytest.fixture
def check(capsys, monkeypatch):
    """Runs the checker; its status and what it prints."""
    monkeypatch.setenv("COLUMNS", "140")

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, capsys.readouterr().out

    return run


def rows(printed):
    """The table's lines by part."""
    return {line.split()[0]: line.split() for line in printed.splitlines() if ".json " in line}


def test_a_folder_of_ones_own(tmp_path, check):
    folder = own_folder(tmp_path, forget_questions=questions("forget"), holdout=["one", "four"])
    status, printed = check(folder)
    assert status == 0
    assert re.match(rf"{folder}: .*your own\n", printed)
    assert rows(printed)["holdout"] == ["holdout", "holdout.json", "2", "7", "3", "4", "one"]
    assert rows(printed)["forget_questions"][2] == "25"
    assert "Scored: VerbMem 25 prompts; KnowMem 22 questions (3 examples); Utility 0" in printed
    assert f"Use it: dataset=custom dataset.path={folder}\n" in printed


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ("80", ["holdout.json", "2", "7", "3", "4"]),
        ("60", ["2", "7", "3", "4"]),
        ("40", ["2", "7"]),
        ("30", ["2"]),
    ],
)
def test_a_narrow_terminal_leaves_columns_out_and_cuts_none(
    tmp_path, check, monkeypatch, columns, shown
):
    monkeypatch.setenv("COLUMNS", columns)
    long = [letter * 200 for letter in "abcdefg"]
    _, printed = check(own_folder(tmp_path, holdout=["one", "four"], retain=long))
    line = next(line for line in printed.splitlines() if line.startswith("holdout"))
    assert line.split()[1:] == shown
    assert all(len(line) <= int(columns) for line in printed.splitlines()[1:6])


def test_a_folder_in_the_layout_of_muse(tmp_path, check):
    folder = muse_folder(tmp_path, raw__retain2=["one"], scal__forget_2=["two"])
    status, printed = check(folder)
    assert status == 0
    assert re.match(rf"{folder}: .*MUSE's layout\n", printed)
    assert {"raw/retain1", "raw/retain2", "scal/forget_2"} < set(rows(printed))
    assert "KnowMem 25 questions (2 examples); Utility 25 questions (2 examples)" in printed
    assert f"Use it: dataset=muse_news dataset.path={folder}\n" in printed
    assert "Warnings" not in printed


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        ({}, r"no questions: KnowMem .*Utility .*skipped"),
        (
            {"forget_questions": questions("forget", 30)},
            r"questions .*forget texts .*none .*retain texts: Utility .*skipped",
        ),
        (
            {"retain_questions": questions("retain", 30)},
            r"no questions .*forget texts: KnowMem .*skipped",
        ),
        (
            {"forget_questions": questions("forget", 22)},
            r"KnowMem: 19 questions .*forget texts; .*fewer than 20 .*intervals .*wide",
        ),
        (
            {"verbatim": prompts(19)},
            r"VerbMem: 19 prompts; .*fewer than 20 .*intervals .*wide",
        ),
        ({"holdout": ["one"]}, r"PrivLeak: 1 holdout texts; .*fewer than 20 .*intervals .*wide"),
        (
            {"verbatim": [*prompts(), {"prompt": "Once", "gt": "Жил-был король 5 лет назад"}]},
            r"FOLDER/verbatim\.json: 1 of 26 \(at 27 \[25\]\) .*letter a-z\b",
        ),
        (
            {"retain_questions": questions("r", 25), "retain_examples": questions("r", 2)},
            r"2 of the retain questions .*examples, .*answers",
        ),
        (
            {"forget_question": []},
            r"FOLDER/forget_question\.json: is not read; .* forget, retain, ",
        ),
        (
            {"retain_examples": questions("retain")},
            r"FOLDER/retain_examples\.json: is not used .*retain_questions",
        ),
    ],
)
def test_what_is_no_fault_but_weak_is_warned_of(tmp_path, check, parts, warning):
    long = [f"{n} {'word ' * 25}" for n in range(25)]
    status, printed = check(own_folder(tmp_path, **{"forget": long, **parts}))
    assert status == 0
    assert re.search(f"\n  {warning.replace('FOLDER', str(tmp_path))}", printed)


def test_a_sound_corpus_is_not_warned_of(tmp_path, check):
    accented = [{"prompt": "Il", "gt": f"était à Orléans près d'un château {n}"} for n in range(25)]
    parts = {f"{split}_questions": questions(split, 30) for split in ("forget", "retain")}
    status, printed = check(own_folder(tmp_path, verbatim=accented, **parts))
    assert status == 0
    assert "Warnings" not in printed


def test_few_blank_and_repeated_articles_of_a_benchmark_are_warned_of(tmp_path, check):
    folder = muse_folder(tmp_path)
    forget = [f"Article {n}." for n in range(23)]
    write(folder / "raw/forget.json", [*forget, "", "Common."])
    write(folder / "raw/retain1.json", ["Common.", *(f"Kept {n}." for n in range(23))])
    status, printed = check(folder)
    assert status == 0
    assert re.search(rf"  {folder}/raw/forget\.json:25: \[23\]: is blank; kept\b", printed)
    assert re.search(
        rf"  {folder}/raw/retain1\.json:2: \[0\]: 1 text is in {folder}/raw/forget\.json\b"
        rf".*same text.* {folder}/raw/forget\.json:26 \(\[24\]\)\n",
        printed,
    )


def test_problems_of_all_files_are_told(tmp_path, check):
    folder = own_folder(tmp_path, forget=["", None], retain_questions=[{}] * 9)
    status, printed = check(folder)
    assert status == 2
    assert "Problems (20)" in printed
    assert f"{folder}/retain_questions.json:10: [8].answer: missing; fields: none" in printed
    assert "Use it" not in printed


def test_a_setting_that_does_not_fit_the_texts_is_a_problem(tmp_path, check):
    status, printed = check(own_folder(tmp_path, forget=["too short"]))
    assert status == 2
    assert re.search(r"\n  dataset\.prompt_words=20: none .*first 1 texts\b", printed)


def test_no_folder(tmp_path, check):
    assert check(tmp_path / "none")[0] == 2


def test_what_is_written_loads_as_the_same_corpus(tmp_path, check):
    long = [f"{n} {'word ' * 25}ü" for n in range(30)]
    parts = {f"{split}_questions": questions(split, 30) for split in ("forget", "retain")}
    folder = own_folder(tmp_path / "own", forget=long, **parts)
    written = tmp_path / "new" / "written"
    status, printed = check(folder, "--write", written)
    assert status == 0
    assert f"dataset=muse_news dataset.path={written}\n" in printed
    expected = custom(folder, prompt_words=20, num_items=100).load()
    assert muse(written).load() == expected
    assert check(written, "--write", tmp_path / "again")[0] == 0
    assert muse(tmp_path / "again").load() == expected


def test_nothing_is_written_over_files_or_of_a_broken_or_partial_corpus(tmp_path, check):
    whole, partial = muse_folder(tmp_path / "whole"), own_folder(tmp_path / "partial")
    long = [f"{n} {'word ' * 25}" for n in range(30)]
    write(partial / "forget.json", long)
    status, printed = check(whole, "--write", partial)
    assert status == 2
    assert re.search(rf"{partial}: .*not empty.* new folder\n", printed)
    status, printed = check(partial, "--write", tmp_path / "out")
    assert status == 2
    assert "out: MUSE's layout needs knowmem/forget_qa, knowmem/forget_qa_icl, " in printed
    (whole / "raw/forget.json").write_text("[")
    assert check(whole, "--write", tmp_path / "out")[0] == 2
    assert not (tmp_path / "out").exists()


def test_the_command_is_quick_and_its_lines_are_whole(tmp_path, repository):
    folder = own_folder(tmp_path / ("long" * 40), forget=[""])
    code = "import runpy, sys; runpy.run_module('unlearn_lab.data.check', run_name='__main__')"
    heavy = "print('torch' in sys.modules or 'transformers' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(repository), "COLUMNS": "80"}
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys\ntry:\n  {code}\nfinally:\n  {heavy}", str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (2, "")
    assert f"\n  {folder}/forget.json:2: [0]: is blank\n" in ran.stdout
    assert ran.stdout.endswith("False\n")


def test_questions_alone_are_scored_by_metrics_of_questions(tmp_path, check):
    write(tmp_path / "forget_questions.json", questions("forget", 30))
    write(tmp_path / "retain_questions.json", questions("retain", 30))
    status, printed = check(tmp_path)
    assert status == 0
    assert "Scored (eval=questions): 30 questions to forget and 30 to retain" in printed
    assert f"Use it: dataset=custom dataset.path={tmp_path} eval=questions\n" in printed
    assert "Warnings" not in printed
