"""The folders are those that docs/architecture.md describes, each with one sentence."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unlearn_lab
from unlearn_lab.plan.stages import BUILDERS

PACKAGE = Path(unlearn_lab.__file__).parent
FOLDERS = sorted(
    path.parent.relative_to(PACKAGE)
    for path in PACKAGE.rglob("__init__.py")
    if path.parent != PACKAGE
)


def test_the_page_names_every_folder():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+)/`", page.split("## Folders")[1].split("## Where")[0]))
    assert named == {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_folder_says_in_one_sentence_what_it_decides(folder):
    (only,) = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)
    sentence = str(only.value.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_only_the_commands_lie_at_the_root():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "cli"}


def test_builders_are_in_modules_called_stage():
    assert all(module.endswith("_stage") for module in BUILDERS.values())


def test_what_is_only_planned_imports_neither_transformers_nor_lightning(tmp_path):
    """They take five seconds; the job's module is what a repeated command imports."""
    code = """
import sys
from unlearn_lab.cli import main
main()
import unlearn_lab.execute.job
heavy = {"transformers", "lightning", "datasets", "nltk", "matplotlib", "scipy.stats"}
print(sorted(heavy & sys.modules.keys()))
"""
    job = ("optimizer=sure,sure_released", "quant=gptq4,llmint8", "method=npo_klr", "dry=true")
    ran = subprocess.run(
        [sys.executable, "-c", code, "-m", *job, f"runtime.home={tmp_path}"],
        env={"PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.splitlines()[-1] == "[]", ran.stdout
    assert "plan: 4 jobs" in ran.stdout
