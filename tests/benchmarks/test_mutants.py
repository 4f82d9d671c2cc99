"""Faults are drawn repeatably, one in a file, and judged by the tests that run their line."""

import ast
import json

import pytest
from coverage import CoverageData

from benchmarks.mutants import ROOT, Mutant, covering_tests, draw, faults_of, judge, kept, mutate


@pytest.fixture(scope="module")
def mutants():
    return draw(16, 30)


def test_the_kept_faults_are_found_where_the_code_has_moved(tmp_path, monkeypatch, capsys):
    rows = [["a.py", "3", "4", 1], ["a.py", "y", "z", 0], ["b.py", "1", "2", 0]]
    monkeypatch.setattr("benchmarks.mutants.ROOT", tmp_path)
    monkeypatch.setattr("benchmarks.mutants.LIST", tmp_path / "list.json")
    (tmp_path / "list.json").write_text(json.dumps(rows))
    for moved in ("", "a = 7\n"):
        (tmp_path / "a.py").write_text(f"{moved}b = x < 3\nc = 3\nd = 3\n")
        (found,) = kept()
        assert (found.before, found.after, found.line) == ("3", "4", 3 + bool(moved))
    assert capsys.readouterr().out.count("gone: ") == 4


@pytest.mark.slow
def test_each_file_has_one_fault_of_one_expression(mutants):
    assert draw(16, 30) == mutants
    assert len({mutant.file for mutant in mutants}) == len(mutants) == 30
    for mutant in mutants:
        text = (ROOT / mutant.file).read_text()
        whole, faulty = (ast.dump(ast.parse(source)) for source in (text, mutant.source))
        assert mutant.before != mutant.after
        assert whole != faulty


def test_a_fault_has_the_line_of_its_statement(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.mutants.ROOT", tmp_path)
    file = tmp_path / "a.py"
    file.write_text('def f(x):\n    """Text 1."""\n    return (\n        x\n        < 3\n    )\n')
    faults = [mutate(file, place) for place in faults_of(file)]
    found = {(one.line, one.before, one.after) for one in faults}
    assert found == {(3, "x < 3", "x <= 3"), (3, "3", "4")}


def test_tests_are_those_that_run_the_line_or_else_the_file(tmp_path):
    data = CoverageData(str(tmp_path / "coverage"))
    for context, lines in (("", [1, 2]), ("a.py::one|run", [5, 6]), ("a.py::two|setup", [6])):
        data.set_context(context)
        data.add_lines({"/x/unlearn_lab/a.py": lines})
    data.write()

    def found(file, line):
        return covering_tests(tmp_path / "coverage", Mutant(file, line, "", "", ""))

    assert found("unlearn_lab/a.py", 5) == ["a.py::one"]
    assert found("unlearn_lab/a.py", 6) == ["a.py::one", "a.py::two"]
    assert found("unlearn_lab/a.py", 1) == ["a.py::one", "a.py::two"]
    assert found("unlearn_lab/b.py", 1) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [("if not known.isascii()", "if known.isascii()", "killed"), ("", "", "survived")],
)
def test_a_fault_is_killed_by_tests_that_fail_and_survives_those_that_pass(before, after, verdict):
    file = "unlearn_lab/data/runs.py"
    source = (ROOT / file).read_text().replace(before, after)
    tests = [
        f"tests/data/test_runs.py::test_words[{case}]"
        for case in (r"har\u200bbour-found1", "...-found7")
    ]
    assert judge(Mutant(file, 1, before, after, source), tests)[0] == verdict
