"""What a module's source says, read without running it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from unlearn_lab.graph import syntax
from unlearn_lab.graph.syntax import Import, read_source

SAMPLE = '''"""Doc."""
from __future__ import annotations
import a.b, os as system
from typing import TYPE_CHECKING
from . import sibling
from ..above import name as other
if TYPE_CHECKING:
    import never
else:
    import always

class C[T](Base, metaclass=M):
    """Doc."""
    x: int = 1
    """Attribute doc."""

    @property
    async def f(self, /, a, *args, b: "T" = 1e-5, c=None, **kw) -> dict[str, int]:
        """Doc."""
        import inner
        importlib.import_module("lm_eval.tasks")
        match a:
            case {"k": [1, *rest], **others} if rest: return {**kw, "u": u"ü\\U0001fae8", 1: -2j}
            case C(x=0) | None: pass
        try:
            async with a as q, b: yield f"{x!r:>{w}.2f} and {y=} {{}}" "" f"" "tail", rb"\\x00"
        except* (A, B) as e: raise X from e
        finally: del self.y[1:2, ..., ::3]
        return lambda *p, k=1: (z := [i async for i in p if not i]) @ 2 ** 1_000_000_007
'''.replace("C[T]", "C")
GOLDEN = "ac419c74c474993027e586851e25b189"
"""Of the sample, under every supported Python."""


def test_the_digest_is_the_same_under_this_python():
    assert read_source(SAMPLE).digest == GOLDEN


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_digest_is_the_same_under_other_pythons(version, tmp_path):
    python = shutil.which(f"python{version}")
    places = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if python is None and not places:
        pytest.skip(f"needs Python {version}")
    (tmp_path / "sample.py").write_text(SAMPLE, encoding="utf-8")
    run = (
        "import importlib.util, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('syntax', {syntax.__file__!r})\n"
        "sys.modules['syntax'] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "text = pathlib.Path('sample.py').read_text(encoding='utf-8')\n"
        "print(module.read_source(text).digest)"
    )
    done = subprocess.run(
        [places[0] if places else str(python), "-W", "ignore", "-c", run],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == GOLDEN, done.stderr


def test_imports_are_found_wherever_they_run():
    found = read_source(SAMPLE)
    assert {(one.level, one.module, one.name) for one in found.imports} >= {
        (0, "a.b", None),
        (0, "os", None),
        (1, "", "sibling"),
        (2, "above", "name"),
        (0, "always", None),
        (0, "inner", None),
        (0, "lm_eval.tasks", None),
    }
    assert Import("never", 0, None) not in found.imports
    assert found.computed == ()


@pytest.mark.parametrize(
    "text", ["import importlib\nimportlib.import_module(name)", "x = 1\n__import__(x + 'y')"]
)
def test_a_computed_import_is_seen(text):
    assert read_source(text).computed == (2,)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", '"""Doc."""\n# why\nx = (1)'),
        ("def f():\n    return 1", "def f():\n    'doc'\n\n    return 1"),
        ("x: int\n'attribute doc'", "x: int"),
        ("f'{a}b' 'c'", "f'{a}' 'bc'"),
    ],
)
def test_what_changes_nothing_does_not_count(one, other):
    assert read_source(one).digest == read_source(other).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("f(a)", "f(*a)"),
        ("{**a}", "{None: a}"),
        ("f'{a}'", "f'{a!r}'"),
        ("def f(a, *, b): ...", "def f(*, a, b): ..."),
        ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
        ("x = None", "x = ..."),
        ("if a: b\nc", "if a:\n    b\n    c"),
    ],
)
def test_what_changes_something_counts(one, other):
    assert read_source(one).digest != read_source(other).digest
