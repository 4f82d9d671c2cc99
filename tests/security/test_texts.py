"""Folders of texts that would run code when read: none is run, and each is refused in one line."""

import tarfile

import pytest

from unlearn_lab.data.texts import HubTexts

CARD = "---\nconfigs:\n- config_name: default\n  data_files: {}\n---\n"


def read(path):
    fields = {"name": None, "split": "train", "column": "text", "revision": None, "num_rows": None}
    return HubTexts(path=str(path), **fields).load()


def refused(path, message):
    with pytest.raises(ValueError, match=rf"generic_text\.path={path}: .*{message}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def texts(tmp_path):
    made = tmp_path / "texts"
    made.mkdir()
    return made


@pytest.mark.parametrize("kind", ["pkl", "pickle", "pt", "arrow"])
def test_pickles(texts, traps, kind):
    traps.pickle(texts / f"train.{kind}")
    refused(texts, "Not an Arrow file" if kind == "arrow" else "No .supported. data files")
    refused(texts / f"train.{kind}", "file must end in")
    (texts / "README.md").write_text(CARD.format(f"train.{kind}"))
    refused(texts, "Not an Arrow file" if kind == "arrow" else "supported extension")


def test_pickles_in_an_archive(texts, traps, tmp_path):
    traps.zip(tmp_path / "0001.pth")
    with tarfile.open(texts / "train.tar", "w") as archive:
        archive.add(tmp_path / "0001.pth", "0001.pth")
    refused(texts, "webdataset.*not a plain table")


def test_a_script_is_not_run(texts, traps):
    traps.script(texts / "texts.py")
    (texts / "train.jsonl").write_text('{"text": "a plain row"}\n')
    refused(texts, "scripts.*no longer supported")
    (texts / "texts.py").rename(texts / "other.py")
    assert read(texts) == ("a plain row",)
