"""What of lm-eval's tasks enters an evaluation's key."""

import pytest

from tests.plan.test_job_graph import RTN, changed, plain_config, stages
from unlearn_lab.execute.parts import build_parts
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan.job_graph import plan


@pytest.fixture
def config():
    return plain_config(RTN)


@pytest.fixture
def make(tmp_path):
    return lambda config: plan(build_parts(config), config, ContentKey(tmp_path / "digests"))


@pytest.fixture
def installed(monkeypatch):
    """Makes lm-eval be of a version, or missing."""
    return lambda version: monkeypatch.setattr(
        "unlearn_lab.plan.pinned.version_of", {"lm-eval": version}.__getitem__
    )


def harness(data):
    return {
        "_target_": "unlearn_lab.evaluate.harness.HarnessTask",
        "task": "mmlu",
        "metric": "acc",
        "num_fewshot": None,
        "limit": None,
        "seed": 0,
        "data": str(data),
        "revision": None,
    }


@pytest.fixture
def measured(config, tmp_path):
    """A configuration with a task of lm-eval on a local data set, and the file that holds it."""
    file = tmp_path / "mmlu" / "test.parquet"
    file.parent.mkdir()
    file.write_text("first")
    return changed(config, "eval.metrics.gen", harness(file.parent)), file


def test_a_task_of_lm_eval_enters_the_key_with_its_data_and_its_library(measured, make, installed):
    config, file = measured
    installed("1")
    known = stages(make(config))
    evaluated = [stage for stage in known.values() if stage.name == "evaluate"]
    for stage in evaluated:
        assert stage.params["metrics"]["gen"]["data"] == str(file.parent)
        assert stage.depends["libraries"] == {"lm-eval": "1"}
        assert set(stage.depends["files"]) == {"eval.metrics.gen.data"}
    assert len(evaluated) == 6

    def rebuilt():
        after = stages(make(config))
        return sorted(stage.name for key, stage in after.items() if key not in known)

    assert rebuilt() == []
    for version in ("2", None):
        installed(version)
        assert rebuilt() == [*["evaluate"] * 6, "record"]
    installed("1")
    file.write_text("second")
    assert rebuilt() == [*["evaluate"] * 6, "record"]


def test_metrics_without_lm_eval_name_neither_files_nor_libraries(config, make):
    for stage in stages(make(config)).values():
        assert set(stage.depends) == {"code"}


def test_a_task_whose_data_is_nowhere_is_refused(config, make):
    absent = changed(config, "eval.metrics.gen", harness("cais/mmlu"))
    with pytest.raises(ValueError, match=r"eval\.metrics\.gen\.data=cais/mmlu: .* and give that"):
        make(absent)
