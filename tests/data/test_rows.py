"""What a file of any kind gives: its rows, the lines they are on, and what is wrong with it."""

import gzip
import json
import re

import pytest
from datasets import Dataset

from unlearn_lab.data.parts import QUESTION, TEXT, VERBATIM, parse
from unlearn_lab.data.rows import files_of, part_of, read_rows


@pytest.fixture
def rows(tmp_path):
    """Reads a file that holds `content`."""

    def read(name, content):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_rows(file)

    return read


def told(read):
    """The problems, without the folder."""
    return [str(problem).rsplit("/", 1)[1] for problem in read.problems]


def assert_told(read, *patterns):
    """As many problems as patterns, each as the pattern says."""
    for problem, pattern in zip(told(read), patterns, strict=True):
        assert re.match(pattern, problem), problem


def test_elements_of_an_array_know_their_lines(rows):
    found = rows("a.json", '[ "one",\n\n {"text":\n"t,]wo"}, "th\\nree"\n,\n["x"] ]')
    assert [(row.at, row.item) for row in found.rows] == [
        ("1", "[0]"),
        ("3", "[1]"),
        ("4", "[2]"),
        ("6", "[3]"),
    ]
    assert found.rows[1].value == {"text": "t,]wo"}
    assert not found.problems


def test_an_array_reads_as_json_does(rows):
    values = ["a", {"b": [1.5, None, {"c": "]["}]}, [], True, 'quo"te', "\u2028 é"]
    for indent in (None, 0, 3):
        found = rows("a.json", json.dumps(values, indent=indent, ensure_ascii=indent is None))
        assert [row.value for row in found.rows] == values


def test_lines_hold_objects_or_texts_and_may_be_blank(rows):
    found = rows("a.jsonl", '\n{"text": "one"}\r\n\n"two\u2028"\n')
    assert [(row.at, row.value) for row in found.rows] == [
        ("2", {"text": "one"}),
        ("4", "two\u2028"),
    ]


def test_every_broken_line_is_told_and_the_others_read(rows):
    found = rows("a.jsonl", '{"text": "one"}\n{"text": \n"three"\n[1\n')
    assert [row.at for row in found.rows] == ["1", "3"]
    assert_told(
        found,
        r"a\.jsonl:2: invalid JSON \(Expecting value, column 10\)$",
        r"a\.jsonl:4: invalid JSON \(.*',' delimiter, column 3\)$",
    )


def test_a_text_file_is_one_text(rows):
    (row,) = rows("a.txt", "\ufeffOne.\n\nTwo.\n").rows
    assert row.value == "One.\n\nTwo.\n"


def test_lines_named_json_are_read_as_lines(rows):
    """So TOFU's files are published."""
    found = rows("a.json", '\ufeff{"text": "one"}\n\n{"text": "two"}\n')
    assert [(row.at, row.item, row.value) for row in found.rows] == [
        ("1", "", {"text": "one"}),
        ("3", "", {"text": "two"}),
    ]


def test_broken_lines_named_json_are_found_by_line(rows):
    found = rows("a.json", '"a"\n{"text": ')
    assert [row.value for row in found.rows] == ["a"]
    assert_told(found, r"a\.json:2: invalid JSON .*column 10\b")


def test_csv_has_a_header_and_texts_of_several_lines(rows):
    long = "x" * 200_000
    found = rows("a.csv", f'\ufefftext,n\r\n"one\n""two""",1\r\n\r\n{long},\r\nthree\r\n')
    assert [(row.at, row.value) for row in found.rows] == [
        ("2", {"text": 'one\n"two"', "n": "1"}),
        ("5", {"text": long, "n": ""}),
    ]
    assert_told(found, r"a\.csv:6: has 1 fields, .*header has 2$")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt"])
def test_a_compressed_file_reads_as_the_file(rows, name):
    content = {"a.json": '["one"]', "a.jsonl": '"one"', "a.csv": "text\none"}.get(name, "one")
    plain, packed = rows(name, content), rows(f"{name}.gz", gzip.compress(content.encode()))
    assert plain.rows
    assert packed.rows == plain.rows


def shards(folder, *texts):
    for place, rows in enumerate(texts):
        file = folder / f"forget-{place:05d}-of-{len(texts):05d}.parquet"
        Dataset.from_dict({"text": rows}).to_parquet(file)


def test_shards_are_one_table(tmp_path):
    shards(tmp_path, ["one", "two"], ["three"])
    ((first, *others),) = files_of(tmp_path, "forget")
    found = read_rows(first, others)
    assert [(row.at, row.value["text"]) for row in found.rows] == [
        ("row 1", "one"),
        ("row 2", "two"),
        ("row 1 of forget-00001-of-00002.parquet", "three"),
    ]
    assert {part_of(file) for file in tmp_path.iterdir()} == {"forget"}


@pytest.mark.parametrize("missing", [[0], [1], [2], [0, 2], [1, 2]])
def test_a_missing_shard_is_a_problem_also_where_one_is_left(tmp_path, missing):
    shards(tmp_path, ["one"], ["two"], ["three"])
    for number in missing:
        (tmp_path / f"forget-0000{number}-of-00003.parquet").unlink()
    ((first, *others),) = files_of(tmp_path, "forget")
    found = read_rows(first, others)
    (problem,) = told(found)
    assert problem.endswith(f": the shard forget-0000{missing[0]}-of-00003.parquet is missing")
    assert found.rows == ()


def test_shards_of_two_files_are_a_problem(tmp_path):
    shards(tmp_path, ["one"])
    shards(tmp_path, ["one"], ["two"])
    ((first, *others),) = files_of(tmp_path, "forget")
    (problem,) = told(read_rows(first, others))
    assert re.search(r"shard forget-00000-of-00002\.parquet .*not one of 1$", problem)


def test_a_part_has_one_file_of_any_format(tmp_path):
    for name in ("forget.json", "forget.csv.gz", "forgetful.json", "forget.tsv"):
        (tmp_path / name).touch()
    shards(tmp_path, ["one"])
    found = [[file.name for file in files] for files in files_of(tmp_path, "forget")]
    assert found == [["forget.json"], ["forget.csv.gz"], ["forget-00000-of-00001.parquet"]]
    assert part_of(tmp_path / "forget.csv.gz") == "forget"
    assert part_of(tmp_path / "forget.tsv") is None


def test_parquet_counts_rows(tmp_path):
    (tmp_path / "x=1").mkdir()
    file = tmp_path / "x=1" / "a.parquet"
    Dataset.from_dict({"text": ["one", None]}).to_parquet(file)
    found = read_rows(file)
    assert [(row.at, row.value) for row in found.rows] == [
        ("row 1", {"text": "one"}),
        ("row 2", {"text": None}),
    ]
    part = parse(found, TEXT, tolerant=False)
    assert_told(part, r"a\.parquet:row 2: text: is null\b.* a text$")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "", r"a\.json: is empty$"),
        ("a.jsonl", " \n", r"a\.jsonl: is empty$"),
        ("a.txt", "\n", r"a\.txt: is empty$"),
        ("a.parquet", "", r"a\.parquet: is empty$"),
        ("a.json", "[]", r"a\.json: contains no items$"),
        (
            "a.json",
            '{"text": "a"}',
            r"a\.json:1: .* list \[\.\.\.\] .*is an object$",
        ),
        (
            "a.json",
            '["a",\n"b"\n"c"]',
            r"a\.json:3: invalid JSON .*',' delimiter.* column 1\b",
        ),
        ("a.json", '["a",\n"b', r"a\.json:2: invalid JSON .*Unterminated string.* column 1\b"),
        ("a.json", '["a"] ["b"]', r"a\.json:1: invalid JSON .*Extra data.* column 7\b"),
        ("a.json", "[" * 10**6, r"a\.json: .*nested too deep"),
        (
            "a.jsonl",
            b'"a"\n"caf\xe9"\n',
            r"a\.jsonl:2: is not UTF-8 .*0xe9 .*offset 8\b",
        ),
        ("a.json", '["a"]'.encode("utf-16"), r"a\.json:1: is not UTF-8 .*0xff .*offset 0\b"),
        ("a.parquet", b"PAR1 cut", r"a\.parquet: cannot be read.* parquet \("),
        ("a.csv", "text\n", r"a\.csv: contains no items$"),
        ("a.csv", 'text\n"one" two\n', r"a\.csv:2: cannot be read.* CSV \("),
        (
            "a.tsv",
            "text\n",
            r"a\.tsv: .*end in \.json, \.jsonl, \.csv, \.parquet, \.txt, or \.gz\b",
        ),
        ("a.parquet.gz", "x", r"a\.parquet\.gz: .*end in \.json, \.jsonl, \.csv, \.parquet\b"),
        ("a.jsonl.gz", "x", r"a\.jsonl\.gz: cannot be read.* gzip \(Not a gzipped file"),
        (
            "a.jsonl.gz",
            gzip.compress(b'"a"', mtime=0)[:-9],
            r"a\.jsonl\.gz: cannot be read.* gzip \(",
        ),
    ],
)
def test_a_file_that_cannot_be_read_gives_one_problem(rows, name, content, message):
    found = rows(name, content)
    assert_told(found, message)
    assert not found.rows


def test_a_missing_file_and_a_folder_are_problems(tmp_path):
    (tmp_path / "folder.json").mkdir()
    assert told(read_rows(tmp_path / "none.json")) == ["none.json: no such file"]
    assert told(read_rows(tmp_path / "folder.json")) == ["folder.json: is not a file"]


@pytest.mark.parametrize(
    ("value", "columns", "message"),
    [
        ("3", TEXT, r"\[0\]: is a number\b.* object with text"),
        ("9" * 5000, TEXT, r"\[0\]: is a number\b.* object with text"),
        ('""', TEXT, r"\[0\]: is blank"),
        ('{"text": " \\n"}', TEXT, r"\[0\]\.text: is blank"),
        ('{"text": ["a"]}', TEXT, r"\[0\]\.text: is a list\b.* a text"),
        ('{"body": "a"}', TEXT, r"\[0\]\.text: missing; fields: body"),
        ('"a \\ud83d b"', TEXT, r"\[0\]: .*lone surrogate \\ud83d .*position 2"),
        ('"a"', QUESTION, r"\[0\]: is a text\b.* object with question and answer"),
        ('{"question": "a", "answer": 3}', QUESTION, r"\[0\]\.answer: is a number\b.* a text"),
        ('{"question": "a"}', QUESTION, r"\[0\]\.answer: missing; fields: question"),
        ('{"prompt": "a", "gt": ""}', VERBATIM, r"\[0\]\.gt: is blank"),
    ],
)
def test_a_value_that_is_no_item_is_told_by_field(rows, value, columns, message):
    part = parse(rows("a.json", f"[{value}]"), columns, tolerant=False)
    assert_told(part, rf"a\.json:1: {message}$")


def test_all_faults_of_a_file_are_told_and_further_columns_passed_over(rows):
    found = rows("a.jsonl", '{"answer": null}\n{"question": "q", "answer": "a", "id": 1}\n')
    part = parse(found, QUESTION, tolerant=False)
    assert_told(
        part,
        r"a\.jsonl:1: question: missing; fields: answer$",
        r"a\.jsonl:1: answer: is null\b.* a text$",
    )
    assert [item.values for item in part.items] == [("q", "a")]


def test_few_blank_texts_of_a_published_split_are_kept_and_told(rows):
    part = parse(rows("a.json", json.dumps(["a"] * 9 + [""])), TEXT, tolerant=True)
    assert (len(part.texts), part.problems) == (10, ())
    (remark,) = part.remarks
    assert remark.what.startswith("is blank; kept")
    many = parse(rows("a.json", json.dumps(["a"] * 4 + [""])), TEXT, tolerant=True)
    assert [problem.what for problem in many.problems] == ["is blank"]
    assert not many.remarks
