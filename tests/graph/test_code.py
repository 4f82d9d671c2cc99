"""Which modules a class depends on, found without importing them."""

import sys

import pytest

from unlearn_lab.graph import code
from unlearn_lab.graph.distributions import required_by


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a package of the user's own; `write(name, text)`, names with slashes."""
    monkeypatch.syspath_prepend(tmp_path)
    for one in (code.read_module, code._is_module):
        one.cache_clear()

    def write(**modules):
        for name, text in modules.items():
            path = tmp_path / "mine" / f"{name.replace('__', '/') if name != 'init' else name}.py"
            path = path.with_name("__init__.py") if path.name == "init.py" else path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        sys.path_importer_cache.clear()

    yield write
    for one in (code.read_module, code._is_module):
        one.cache_clear()


def names(module, **options):
    return set(code.closure(module, ("mine", "unlearn_lab"), **options))


def test_a_closure_is_transitive_and_imports_nothing(package):
    package(
        init="raise SystemExit('imported')",
        method="from .loss import f\nfrom mine import words\nclass C: ...",
        loss="def f():\n    from mine.inner.deep import g",
        words="",
        other="",
        inner__init="",
        inner__deep="import torch",
    )
    found = {"mine", "mine.method", "mine.loss", "mine.words", "mine.inner", "mine.inner.deep"}
    assert names("mine.method") == found
    assert "mine" not in sys.modules


def test_modules_may_import_each_other_and_are_not_entered_where_it_stops(package):
    package(a="from . import b", b="from . import a, c", c="")
    assert names("mine.a") == {"mine", "mine.a", "mine.b", "mine.c"}
    assert names("mine.a", stop={"mine.b", "mine.a"}) == {"mine", "mine.a"}


def test_a_module_of_another_trusted_package_counts_when_it_is_imported_by_from(package, tmp_path):
    package(a="from helpers import loss, LIMIT")
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").write_text("LIMIT = 1")
    (tmp_path / "helpers" / "loss.py").write_text("x = 1")
    found = set(code.closure("mine.a", ("mine", "helpers")))
    assert found == {"mine", "mine.a", "helpers", "helpers.loss"}
    assert set(code.closure("mine.a", ("mine",))) == {"mine", "mine.a"}


def test_what_only_a_type_checker_reads_is_left_out(package):
    package(a="import typing\nif typing.TYPE_CHECKING:\n    from . import b", b="")
    assert names("mine.a") == {"mine", "mine.a"}


def test_a_changed_file_is_seen_against_the_digest_that_was_taken(package):
    package(a="x = 1")
    taken = code.digests(code.closure("mine.a", ("mine",)))
    assert code.changed(taken) == []
    package(a="x = 1  # why")
    assert code.changed(taken) == []
    package(a="x = 22")
    assert code.changed(taken) == ["mine.a"]
    assert code.digests(code.closure("mine.a", ("mine",))) == taken, "what this process has loaded"


def test_computed_names_and_compiled_modules_are_refused(package, tmp_path):
    package(a="import importlib\nimportlib.import_module(name)", b="from . import fast")
    with pytest.raises(ValueError, match=r"a\.py:2: .*computed name"):
        code.require_followed(code.closure("mine.a", ("mine",)).values())
    suffix = next(one for one in __import__("importlib").machinery.EXTENSION_SUFFIXES)
    (tmp_path / "mine" / f"fast{suffix}").write_bytes(b"")
    sys.path_importer_cache.clear()
    with pytest.raises(ValueError, match=r"module mine\.fast .* is compiled"):
        code.closure("mine.b", ("mine",))


def test_a_file_that_is_no_python_is_refused(package):
    package(a="def f(:")
    with pytest.raises(ValueError, match=r"a\.py: cannot be read.* Python"):
        code.closure("mine.a", ("mine",))


def test_libraries_are_found_but_for_those_that_are_always_there(package):
    package(a="import torch, numpy.linalg, json, safetensors, scipy_of_mine, lm_eval.tasks")
    found = code.distributions(code.closure("mine.a", ("mine",)).values(), ("mine",))
    assert set(found) == {"scipy-of-mine", "lm-eval"}


def test_what_a_library_requires_comes_with_it():
    assert {"llmcompressor", "compressed-tensors", "loguru"} <= required_by(("LLMCompressor",))
    assert required_by(("not-there",)) == {"not-there"}
