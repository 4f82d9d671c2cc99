"""Why a stage is built again, and a plan that its code no longer fits."""

import dataclasses
import re

import pytest

from unlearn_lab.graph import manifest as manifests
from unlearn_lab.graph.code import closure, digests
from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan import changes
from unlearn_lab.plan.changes import reasons, require_planned_code
from unlearn_lab.plan.stages import VERSIONS


def stage(**changed):
    depends = {
        "code": {"unlearn_lab.unlearn.objectives.npo": "1", "mine.loss": "2"},
        "files": {"dataset.path": "a"},
        "libraries": {"peft": "0.1"},
    }
    depends = {kind: held | changed.pop(kind, {}) for kind, held in depends.items()}
    given = {"name": "unlearn", "builder": "b:c", "version": 3, "params": {"seed": 0}}
    return Stage(**{**given, "depends": depends, **changed})


@pytest.fixture
def build(tmp_path):
    def into_cache(built):
        folder = tmp_path / built.name / built.key
        folder.mkdir(parents=True)
        manifest = manifests.Manifest(stage=built.description, files={}, facts={}, seconds=1.0)
        manifests.write(folder, manifest)

    return into_cache


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"code": {"unlearn_lab.unlearn.objectives.npo": "9"}}, [r"code of npo\.py changed"]),
        ({"code": {"mine.new": "9"}}, [r"code of new\.py changed"]),
        ({"files": {"dataset.path": "b"}}, [r"dataset\.path changed"]),
        ({"libraries": {"peft": "0.2"}}, [r"peft .*0\.2.*0\.1"]),
        ({"libraries": {"peft": None}}, [r"peft .*missing.*0\.1"]),
        ({"version": 4}, [r"version .*unlearn .*4.*3"]),
        ({"params": {"seed": 1}}, []),
        ({}, []),
    ],
)
def test_the_reason_is_what_differs_but_for_the_settings(build, tmp_path, changed, said):
    build(stage())
    found = reasons([stage(**changed)], tmp_path)
    assert all(re.fullmatch(one, line) for one, line in zip(said, found, strict=True))


def test_the_likest_counts_and_each_reason_is_said_once(build, tmp_path):
    build(stage(version=1, libraries={"peft": "0.0"}))
    build(stage())
    wanted = [stage(code={"mine.loss": "3"}), stage(code={"mine.loss": "3"}, builder="b:d")]
    assert reasons(wanted, tmp_path) == ["code of loss.py changed"]


def test_another_input_is_no_reason_of_the_stage_itself(build, tmp_path):
    build(stage(inputs={"target": stage(name="target")}))
    after = stage(inputs={"target": stage(name="target", version=9)})
    assert reasons([after], tmp_path) == []


def test_what_the_check_before_a_run_has_just_built_has_its_reason(build, tmp_path):
    after = stage(files={"dataset.path": "b"})
    build(stage())
    build(after)
    assert reasons([after], tmp_path) == ["dataset.path changed"]


def test_a_damaged_manifest_is_passed_over(build, tmp_path):
    built = stage()
    build(built)
    (tmp_path / built.name / built.key / manifests.FILE).write_text("{")
    assert reasons([stage(version=4)], tmp_path) == []


def planned(**changed):
    code = digests(closure("unlearn_lab.unlearn.objectives.npo"))
    params = {"name": "unlearn", "builder": "b:c", "version": VERSIONS["unlearn"], "params": {}}
    return Stage(**{**params, "depends": {"code": {**code, **changed}}})


def test_the_code_that_was_planned_is_built():
    require_planned_code(planned())


def test_other_code_than_planned_is_refused_by_file():
    with pytest.raises(ValueError, match=r"code of npo\.py differs.* plan\b"):
        require_planned_code(planned(**{"unlearn_lab.unlearn.objectives.npo": "0" * 32}))
    with pytest.raises(ValueError, match=r"the code of gone\.py differs"):
        require_planned_code(planned(**{"unlearn_lab.gone": "0" * 32}))


def test_another_version_of_the_builder_is_refused(monkeypatch):
    monkeypatch.setitem(changes.VERSIONS, "unlearn", 99)
    with pytest.raises(ValueError, match=r"unlearn .*planned.* version 2\b.* 99\b"):
        require_planned_code(dataclasses.replace(planned(), version=2))
