"""Jobs in processes of Ray's: each stage is built once, and their results come home."""

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL, built
from tests.e2e.conftest import execute

HERE = ("127.0.0.1", "localhost")


@pytest.fixture
def sweep(forkserver, tmp_path, repository):
    """Runs a sweep through Ray, which talks to itself over this machine's own address."""

    def run(*arguments):
        home = tmp_path / "lab"
        given = ["-m", "+cluster=ray", *SMALL, *SMALL_MODEL, f"runtime.home={home}", *arguments]
        places = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
        return execute(forkserver, given, tmp_path, home, places, HERE)

    return run


def trained(run):
    counts = built(run.home)
    return {stage: counts[stage] for stage in ("target", "retrain", "unlearn")}


@pytest.mark.slow
def test_two_jobs_share_what_is_trained(sweep, lab):
    lab("method=ga", "quant=none")
    run = sweep("method=ga", "quant=rtn4,rtn8")
    assert run.status == 0, run.err
    assert "2 done, 0 failed" in run.out
    assert "_run_job pid=" in run.err + run.out  # in processes of Ray's indeed
    assert trained(run) == {"target": 1, "retrain": 1, "unlearn": 1}
    assert {record["quant"] for record in run.records} == {"none", "rtn4", "rtn8"}
    assert all(record["effective.processor"].endswith("1 threads") for record in run.records)


@pytest.mark.slow
def test_two_methods_and_four_quantizers_train_each_method_once(sweep):
    run = sweep("method=ga,npo", "quant=none,rtn2,rtn4,rtn8", "runtime.threads=2")
    assert run.status == 0, run.err
    assert "8 done, 0 failed" in run.out
    assert trained(run) == {"target": 1, "retrain": 1, "unlearn": 2}
