"""The same sweep through every launcher: each stage is built once, each leaf has its record."""

import re

import pytest

from tests.e2e.artifacts import built
from tests.launchers.conftest import WHERE

pytestmark = pytest.mark.timeout(600)


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "submitit", "slurm"])
def test_jobs_in_processes_of_their_own_reuse_what_is_there(sweep, lab, cluster):
    lab("method=ga", "quant=none")
    run = sweep(*WHERE[cluster], "method=ga", "quant=rtn4,rtn8")
    assert run.status == 0, run.err
    counts = built(run.home)
    assert [counts[name] for name in ("target", "retrain", "unlearn")] == [1, 1, 1]
    assert (counts["evaluate"], counts["record"]) == (9, 3)
    assert run.records[0]["quant"] == "none"
    assert sorted(record["quant"] for record in run.records[1:]) == ["rtn4", "rtn8"]
    said = {"local": "Joblib.Parallel", "submitit": "local job ", "slurm": "slurm job "}
    assert said[cluster] in run.err


@pytest.mark.slow
@pytest.mark.parametrize("cluster", WHERE)
def test_two_methods_and_four_quantizers_are_two_trainings(sweep, cluster):
    grid = ("method=ga,npo", "quant=none,rtn4,rtn8,nf4")
    run = sweep(*WHERE[cluster], *grid)
    assert run.status == 0, run.err
    counts = built(run.home)
    assert [counts[name] for name in ("target", "retrain", "unlearn")] == [1, 1, 2]
    assert (counts["evaluate"], counts["record"]) == (4 * 4, 8)
    assert len({(record["method"], record["quant"]) for record in run.records}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["slurm"])
def test_no_more_jobs_of_an_array_run_at_a_time_than_asked_for(sweep, slurm, cluster):
    run = sweep(
        *WHERE[cluster], "method=ga", "quant=none,rtn8", "hydra.launcher.array_parallelism=1"
    )
    assert run.status == 0, run.err
    array = re.findall(r"slurm job (\d+)_1: ", run.err)[-1]
    first, second = (slurm("scontrol", "show", "job", f"{array}_{task}") for task in (0, 1))
    assert "ArrayTaskThrottle=1" in first
    end, begin = re.search(r"EndTime=(\S+)", first), re.search(r"StartTime=(\S+)", second)
    assert begin[1] >= end[1]
