"""Where the user's folder of YAML is, as said on the command line or in the environment."""

import re

import pytest

from unlearn_lab.config.conf_folder import (
    VARIABLE,
    conf_dir,
    option_exists,
    presets,
    require_settled,
    settle,
)
from unlearn_lab.config.exits import RequestRefused


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "of_the_environment")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "of_the_environment"),
        (["method=ga", "-m"], "of_the_environment"),
        (["conf_dir=a"], "a"),
        (["conf_dir=a", "conf_dir=b/c"], "b/c"),
        (["conf_dir='a b'"], "a b"),
        (["+conf_dir=../a"], "../a"),
        (["hydra.sweep.dir=a", "other.conf_dir=b"], "of_the_environment"),
    ],
)
def test_the_command_line_outranks_the_environment(folder, arguments, name):
    settle(arguments)
    assert conf_dir() == folder / name


@pytest.mark.parametrize("arguments", [["conf_dir=null"], ["conf_dir="], ["conf_dir=[a]"]])
def test_no_folder_is_none(arguments):
    settle(arguments)
    assert conf_dir() is None


def test_an_absolute_folder_stays(folder):
    settle([f"conf_dir={folder}"])
    assert conf_dir() == folder


@pytest.mark.parametrize("argument", ["conf_dir=a,b", "trust=[a],[b]", "trust=choice([a],[b])"])
def test_neither_is_swept_over(argument):
    with pytest.raises(RequestRefused, match=f"^{re.escape(argument)}: .*same.*sweep"):
        settle([argument])


def test_what_hydra_cannot_read_is_left_to_it():
    settle(["trust=[a", "conf_dir=b"])


def test_a_list_of_packages_is_no_sweep():
    settle(["trust=[a,b]"])


@pytest.mark.parametrize("given", ["a/b", "b", ".", None, ""])
def test_a_folder_is_known_again_wherever_a_process_works(given, folder, monkeypatch):
    settle([f"conf_dir={given}" if given else "conf_dir=a"])
    monkeypatch.chdir(folder.parent)
    require_settled(given)


@pytest.mark.parametrize("given", ["b", "c/a", "/a"])
def test_a_folder_that_comes_too_late_is_refused(given):
    settle(["conf_dir=a"])
    with pytest.raises(ValueError, match=rf"^conf_dir={given}: .*command line.*{VARIABLE}"):
        require_settled(given)
    settle(["conf_dir=null"])
    with pytest.raises(ValueError, match=rf"^conf_dir={given}: "):
        require_settled(given)


def test_options_and_presets_of_theirs_are_seen(folder):
    for option in ("trainer/mine", "grid/mine"):
        (folder / "mine" / option).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / f"{option}.yaml").touch()
    settle(["conf_dir=mine"])
    assert option_exists("trainer", "mine")
    assert option_exists("trainer", "tiny")
    assert not option_exists("trainer", "nothing")
    assert presets()["grid"][-2:] == ["tune_tiny", "mine"]
    settle(["conf_dir=null"])
    assert not option_exists("trainer", "mine")
