"""Mutation test: are small faults in the code noticed by the tests that run the faulty line?

Puts one fault into one line of each of 30 files, both drawn with a seed and kept in mutants.json,
so that later versions of the tests are judged by the same faults. For each, the tests whose
coverage touches the line run until one fails. `make test-mutation` measures the coverage first.
"""

import argparse
import ast
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("mutants.json")
SEED, NUM_MUTANTS = 16, 30
CPU_SECONDS, SECONDS = 60, 300
"""Limits of a mutant's tests: of the processor's time, and for tests that wait for ever."""
_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
"""Each operator, and the one that takes its place."""


@dataclass(frozen=True)
class Mutant:
    """A fault in one expression.

    Attributes:
        file: path below the project's root.
        line: first line of the statement that contains it: the one that coverage records.
        before: the expression.
        after: the faulty expression.
        source: the whole faulty file.
    """

    file: str
    line: int
    before: str
    after: str
    source: str


def main() -> None:
    """Prints a line for each mutant and the number killed; exits with 1 if any survived."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--coverage", type=Path, default=ROOT / ".coverage.mutants")
    parser.add_argument("--parallel", type=int, default=2, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="only list the mutants")
    parser.add_argument("--draw", action="store_true", help="draw others into mutants.json")
    asked = parser.parse_args()
    if asked.draw:
        rows = [[one.file, *_named(one)] for one in draw(SEED, NUM_MUTANTS)]
        LIST.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    mutants = kept()
    if asked.list or asked.draw:
        for mutant in mutants:
            print(f"{mutant.file}:{mutant.line}: {mutant.before}  ->  {mutant.after}")
        return
    _require_passing(asked.coverage, mutants)
    with ThreadPoolExecutor(asked.parallel) as pool:
        verdicts = list(
            pool.map(lambda one: judge(one, covering_tests(asked.coverage, one))[0], mutants)
        )
    killed = verdicts.count("killed")
    print(f"{killed} of {len(mutants)} mutants killed")
    sys.exit(0 if killed == len(mutants) else 1)


def kept() -> list[Mutant]:
    """Returns the mutants of mutants.json whose expressions are still in the code.

    Prints the others: with `--draw` they are replaced.
    """
    mutants = list[Mutant]()
    for name, before, after, number in json.loads(LIST.read_text(encoding="utf-8")):
        equal = [one for one in _every(name) if (one.before, one.after) == (before, after)]
        mutants += equal[number : number + 1]
        if number >= len(equal):
            print(f"gone: {name}: {before}")
    return mutants


def _every(name: str) -> list[Mutant]:
    file = ROOT / name
    return [mutate(file, place) for place in faults_of(file)] if file.exists() else []


def _named(mutant: Mutant) -> list[object]:
    """Returns the fault's expressions, and how many equal faults stand before it in its file."""
    equal = [
        one.source
        for one in _every(mutant.file)
        if (one.before, one.after) == (mutant.before, mutant.after)
    ]
    return [mutant.before, mutant.after, equal.index(mutant.source)]


def draw(seed: int, number: int) -> list[Mutant]:
    """Draws the files, then one fault in each; the same for the same code and seed."""
    dice = random.Random(seed)
    files = sorted((ROOT / "unlearn_lab").rglob("*.py"))
    mutants = list[Mutant]()
    for file in dice.sample(files, len(files)):
        places = faults_of(file)
        if places and len(mutants) < number:
            mutants.append(mutate(file, dice.choice(places)))
    return mutants


def faults_of(file: Path) -> list[int]:
    """Returns the places, in the order of `ast.walk`, of operators, numbers and conditions."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [place for place, node in enumerate(nodes) if _can_change(node)]


def mutate(file: Path, place: int) -> Mutant:
    """Returns the fault at a place of `faults_of`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    line, nodes = _lines_of_statements(tree)[place], list(ast.walk(tree))
    before = _spell(nodes[place])
    _change(nodes[place])
    return Mutant(
        file=file.relative_to(ROOT).as_posix(),
        line=line,
        before=before,
        after=_spell(nodes[place]),
        source=ast.unparse(tree),
    )


def _spell(node: ast.AST) -> str:
    return f"if {ast.unparse(node.test)}" if isinstance(node, ast.If) else ast.unparse(node)


def _lines_of_statements(tree: ast.Module) -> list[int]:
    """The first line of the innermost statement around each node, in the order of `ast.walk`."""
    lines = {id(tree): 1}
    for node in ast.walk(tree):
        for inner in ast.iter_child_nodes(node):
            lines[id(inner)] = inner.lineno if isinstance(inner, ast.stmt) else lines[id(node)]
    return [lines[id(node)] for node in ast.walk(tree)]


def _can_change(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in _SWAPS
    if isinstance(node, ast.BinOp | ast.BoolOp):
        return type(node.op) in _SWAPS and not _is_union(node)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    return isinstance(node, ast.If)


def _is_union(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = _SWAPS[type(node.ops[0])]()  # pyright: ignore[reportArgumentType]
    elif isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = _SWAPS[type(node.op)]()  # pyright: ignore[reportAttributeAccessIssue]
    elif isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.If):
        node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)


def covering_tests(coverage: Path, mutant: Mutant) -> list[str]:
    """Returns the tests that run the mutant's line, by their ids.

    A line that runs when its module is imported is run by no test: then all that run the file.
    """
    from coverage.numbits import numbits_to_nums

    with sqlite3.connect(coverage) as database:
        rows = database.execute(
            "select context.context, line_bits.numbits from line_bits "
            "join file on file.id = line_bits.file_id "
            "join context on context.id = line_bits.context_id where file.path like ?",
            (f"%/{mutant.file}",),
        ).fetchall()
    named = [(context.split("|")[0], numbits_to_nums(bits)) for context, bits in rows if context]
    touched = {test for test, lines in named if mutant.line in lines}
    return sorted(touched or {test for test, _ in named})


def _require_passing(coverage: Path, mutants: Sequence[Mutant]) -> None:
    """Raises `RuntimeError` if tests fail without a fault: then no mutant would survive."""
    tested = [one for one in mutants if covering_tests(coverage, one)]
    mutant = min(tested, key=lambda one: len(covering_tests(coverage, one)))
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    same = replace(mutant, source=text, after=mutant.before)
    if judge(same, covering_tests(coverage, mutant))[0] != "survived":
        raise RuntimeError(f"the tests of {mutant.file} fail without a fault")


def judge(mutant: Mutant, tests: Sequence[str]) -> tuple[str, float]:
    """Runs the tests against the faulty code; prints and returns the verdict and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "code"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "lab", "dist", "build"))
        (copy / mutant.file).write_text(mutant.source, encoding="utf-8")
        verdict, seconds = _run(copy, tests)
    print(
        f"{verdict:<9}{seconds:5.0f} s {len(tests):>5} tests  {mutant.file}:{mutant.line}: "
        f"{mutant.before}  ->  {mutant.after}".replace("\n", " ")[:200],
        flush=True,
    )
    return verdict, seconds


def _run(copy: Path, tests: Sequence[str]) -> tuple[str, float]:
    if not tests:
        return "untested", 0.0
    chosen = copy / "chosen.json"
    chosen.write_text(json.dumps(tests), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    files = sorted({test.partition("::")[0] for test in tests})
    command += ["-p", "benchmarks.chosen", *files]
    started = os.times().elapsed
    try:
        status = subprocess.run(
            ["bash", "-c", f'ulimit -S -t {CPU_SECONDS} && exec "$@"', "limited", *command],
            cwd=copy,
            env=environment,
            timeout=SECONDS,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode
    except subprocess.TimeoutExpired:
        return "timeout", float(SECONDS)
    verdict = {0: "survived", 5: "survived", -signal.SIGXCPU: "timeout"}.get(status, "killed")
    return verdict, os.times().elapsed - started


if __name__ == "__main__":
    main()
