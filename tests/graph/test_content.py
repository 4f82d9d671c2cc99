import json

import pytest

from unlearn_lab.graph import content
from unlearn_lab.graph.content import ContentKey


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_text("weights")
    return made


def test_a_folder_is_named_by_what_it_holds(folder, tmp_path):
    first = ContentKey(tmp_path / "memory").of_path(folder)
    copy = folder.with_name("copy")
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert ContentKey(tmp_path / "memory").of_path(copy) == first
    (copy / "config.json").write_text("{ }")
    assert ContentKey(tmp_path / "memory").of_path(copy) != first


def test_renaming_a_file_changes_the_digest(folder, tmp_path):
    key = ContentKey(tmp_path / "memory")
    before = key.of_path(folder)
    (folder / "config.json").rename(folder / "other.json")
    assert key.of_path(folder) != before


def test_unchanged_files_are_read_once(folder, tmp_path, monkeypatch):
    first = ContentKey(tmp_path / "memory").of_path(folder)
    monkeypatch.setattr(content, "file_digest", lambda path: pytest.fail("read again"))
    assert ContentKey(tmp_path / "memory").of_path(folder) == first


def test_a_torn_memory_is_forgotten(folder, tmp_path):
    (tmp_path / "memory").write_text("{")
    ContentKey(tmp_path / "memory").of_path(folder)
    assert len(json.loads((tmp_path / "memory").read_text())) == 2


def test_a_local_model_is_pinned_by_digest(folder, tmp_path):
    pin = ContentKey(tmp_path / "memory").of_model(str(folder), "main")
    assert (pin.path, pin.revision, len(pin.digest)) == (str(folder), None, 64)


def test_a_hub_model_in_the_local_cache_is_pinned_by_commit(tmp_path, monkeypatch):
    commit = "c" * 40
    root = tmp_path / "hub" / "models--someone--model"
    (root / "snapshots" / commit).mkdir(parents=True)
    (root / "snapshots" / commit / "config.json").write_text("{}")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pin = ContentKey(tmp_path / "memory").of_model("someone/model", None)
    assert (pin.path, pin.revision, pin.digest) == ("someone/model", commit, None)


@pytest.mark.parametrize("name", ["someone/unknown", "no such//folder"])
def test_an_unknown_model_is_refused_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=rf"^model\.path={name}: .*hf download") as refusal:
        ContentKey(tmp_path / "memory").of_model(name, None)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("generic_text.path", "parquet, JSONL.* text.*quant/calibration=retain$"),
        (
            "dataset.path",
            "a folder with the same files, .*hf download --repo-type dataset someone/unknown$",
        ),
    ],
)
def test_an_unknown_data_set_is_refused_by_the_setting_that_names_it(
    tmp_path, monkeypatch, setting, hint
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=rf"^{setting}=someone/unknown: not a folder, .*{hint}"):
        ContentKey(tmp_path / "memory").of_dataset("someone/unknown", None, setting)
