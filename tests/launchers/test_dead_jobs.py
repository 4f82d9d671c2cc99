"""Jobs that are killed, requeued or out of time: what is lost, and what goes on."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.artifacts import first_steps, unlearned
from tests.launchers.conftest import WHERE

pytestmark = pytest.mark.timeout(600)
QUICK_CLAIMS = ("runtime.claim_beat=0.5", "runtime.claim_silence=4")
LONG = ("method=npo_klr", "quant=none", "trainer.epochs=40", "runtime.checkpoint_seconds=0")


def children(job):
    """The processes that submitit's controller, whose id is the job's, has started."""
    return Path(f"/proc/{job}/task/{job}/children").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["slurm", "submitit"])
def test_a_job_that_is_killed_fails_its_leaf_and_no_other(request, lab, start, cluster):
    lab("method=ga", "quant=none")
    sweep = start(*WHERE[cluster], *QUICK_CLAIMS, "method=ga,npo", "quant=none")
    job = sweep.job("method=npo")
    if cluster == "slurm":
        slurm = request.getfixturevalue("slurm")
        sweep.wait_for(lambda: "JobState=RUNNING" in slurm("scontrol", "show", "job", job))
        slurm("scancel", job)
    else:
        (worker,) = sweep.wait_for(lambda: children(job))
        os.kill(int(worker), signal.SIGKILL)
    run = sweep.end()
    assert run.status == 1, run.err
    assert "1 done, 1 failed" in run.out
    assert re.search(rf"job {job} left no result: ", run.out)
    assert [record["method"] for record in run.records] == ["ga"] * 2
    assert "Traceback" not in run.out


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["slurm"])
@pytest.mark.parametrize(
    "interruption",
    [("scancel", "--signal=USR2"), ("scontrol", "requeue")],
    ids=["told to checkpoint", "requeued by the cluster"],
)
def test_a_preempted_job_is_requeued_and_its_training_goes_on(start, slurm, cluster, interruption):
    sweep = start(*WHERE[cluster], *QUICK_CLAIMS, *LONG)
    sweep.wait_for(lambda: list(unlearned(sweep.home).glob("*.work.*/last.ckpt")))
    job = re.findall(r"slurm job (\S+): ", (sweep.folder / "err").read_text())[-1]
    slurm(*interruption, job)
    sweep.wait_for(lambda: "Restarts=1" in slurm("scontrol", "show", "job", job))
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm would wait two minutes
    run = sweep.end()
    assert run.status == 0, run.err
    (folder,) = unlearned(run.home).glob("*")
    assert first_steps(folder) == 1
    assert len(run.records) == 1


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["slurm"])
def test_a_job_that_runs_out_of_time_too_often_says_so(start, slurm, cluster):
    """With a limit of ten minutes submitit takes any signal for the one that announces it."""
    kinds = ("launcher", *(f"sweeper.resources.{kind}" for kind in ("training", "evaluating")))
    minutes = [f"++hydra.{kind}.timeout_min=10" for kind in kinds]
    limits = (*minutes, "hydra.launcher.max_num_timeout=0", "hydra.launcher.signal_delay_s=10")
    sweep = start(*WHERE[cluster], *limits, *LONG)
    sweep.wait_for(lambda: list(unlearned(sweep.home).glob("*.work.*/last.ckpt")))
    job = re.findall(r"slurm job (\S+): ", (sweep.folder / "err").read_text())[-1]
    slurm("scancel", "--signal=USR2", job)
    run = sweep.end()
    assert run.status == 1, run.err
    assert "0 done, 1 failed" in run.out
    assert "timed-out too many times" in " ".join(run.out.split())  # lines may be broken
