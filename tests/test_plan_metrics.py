"""What of lm-eval's tasks enters an evaluation's key."""

from importlib.metadata import PackageNotFoundError

import pytest

from tests.test_plan import changed, plain_config, stages
from unlearn_lab import libraries
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan import plan


@pytest.fixture
def config():
    return plain_config({"_target_": "unlearn_lab.quantize.rtn.RTN", "bits": 4})


@pytest.fixture
def make(tmp_path):
    return lambda config: plan(config, ContentKey(tmp_path / "digests"))


def harness(data, **changes):
    node = {"_target_": "unlearn_lab.evaluate.harness.HarnessTask", "task": "mmlu", "seed": 0}
    return {**node, "data": str(data), "revision": None, **changes}


@pytest.fixture
def measured(config, tmp_path, monkeypatch):
    """A configuration with a task of lm-eval on a local data set, and the file that holds it."""
    monkeypatch.setattr(libraries, "version", lambda library: "1")
    file = tmp_path / "mmlu" / "test.parquet"
    file.parent.mkdir()
    file.write_text("first")
    return changed(config, "eval.metrics", {"m": {}, "gen": harness(file.parent)}), file


def test_a_task_of_lm_eval_enters_the_key_with_its_data_and_its_library(
    measured, make, monkeypatch
):
    config, file = measured
    known = stages(make(config))
    params = next(stage.params for stage in known.values() if stage.name == "evaluate")
    assert params["harness"] == "lm-eval 1"
    assert params["metrics"]["gen"]["data"] == str(file.parent)

    def rebuilt():
        after = stages(make(config))
        return sorted(stage.name for key, stage in after.items() if key not in known)

    assert rebuilt() == []
    monkeypatch.setattr(libraries, "version", lambda library: "2")
    assert rebuilt() == [*["evaluate"] * 6, "record"]
    monkeypatch.setattr(libraries, "version", lambda library: "1")
    file.write_text("second")
    assert rebuilt() == [*["evaluate"] * 6, "record"]


def test_metrics_without_lm_eval_do_not_name_it(config, make):
    for stage in stages(make(config)).values():
        assert not {"harness", "data"} & set(stage.params)


def test_a_task_whose_data_or_library_is_missing_is_refused(measured, make, monkeypatch):
    config, _ = measured
    absent = changed(config, "eval.metrics", {"gen": harness("cais/mmlu")})
    with pytest.raises(ValueError, match=r"eval\.metrics\.gen\.data=cais/mmlu: .* and give that"):
        make(absent)

    def version(library):
        raise PackageNotFoundError(library)

    monkeypatch.setattr(libraries, "version", version)
    with pytest.raises(ValueError, match=r"eval\.metrics\.gen: needs the library lm-eval"):
        make(config)
