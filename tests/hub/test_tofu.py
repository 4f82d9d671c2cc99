"""TOFU read from a hub in its layout: JSON Lines, a configuration per file, one split."""

import json

import pytest

from tests.data.tofu_files import contents, pair, write
from tests.hub.loading import read_tofu
from unlearn_lab.data.tofu import TofuCorpus

NAME = "locuslab/TOFU"
HOLDOUT = {"holdout10": [pair("Eve", number) for number in range(20)]}


def asked(revision, **changes):
    fields = {"path": NAME, "split": "forget10", "authors": 1, "retain_authors": 2}
    fields |= {"template": "auto", "system_prompt": None, "date": ""}
    return {**fields, "revision": revision, **changes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tofu"), HOLDOUT)


@pytest.fixture(scope="module")
def commit(hub, folder):
    names = [*contents(), *HOLDOUT]
    files = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}.json"}]}
        for name in names
    ]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(files)}\n---\n# Made up\n")
    return hub.repository("datasets", NAME).commit(folder, "main")


@pytest.fixture(scope="module")
def found(online, commit):
    return online(read_tofu, **asked(commit))


def test_it_is_the_corpus_of_a_folder_with_its_files(found, folder):
    local = TofuCorpus(**asked(None, path=str(folder))).load()
    assert found == local
    assert len(found.holdout_documents) == 20
    assert len(found.probes["forget"][0].wrong) == 5


def test_a_commit_is_read_again_without_the_hub(offline, found, commit):
    assert offline(read_tofu, **asked(commit)) == found


def test_what_the_hub_lacks_is_refused_in_one_line(online, commit):
    with pytest.raises(ValueError, match=r"\Apath=locuslab/TOFU: cannot be loaded .*forget05"):
        online(read_tofu, **asked(commit, split="forget05"))
