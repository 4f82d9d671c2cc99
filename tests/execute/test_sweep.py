"""What is started next, given what became of the jobs before: no process is started here."""

import io
from dataclasses import replace

import pytest
from hydra.core.utils import JobReturn, JobStatus

from tests.graph.builders import make
from tests.graph.test_waves import goals
from unlearn_lab.config.exits import Finished, RequestRefused
from unlearn_lab.execute.sweep import Job, Launch, Sweep, grouped, outcome_of, require_sweepable
from unlearn_lab.plan.request import read_values
from unlearn_lab.record.outcome import Outcome, failed


def outcome(stages, failure=None):
    names = {stage.key: stage.name for stage in stages}
    return Outcome(
        label="a job",
        record=None,
        failure=failure,
        built=names,
        reused={},
        seconds=dict.fromkeys(names, 1.0),
        hint="",
    )


@pytest.fixture
def sweep_of(composed, tmp_path):
    """A sweep with these leaves by job."""

    def make_sweep(leaves):
        jobs = [
            Job(overrides=(f"job={job}",), label=f"leaf {job}", goals=ends) for job, ends in leaves
        ]
        return Sweep(jobs, read_values(composed(f"runtime.home={tmp_path}")))

    return make_sweep


@pytest.fixture
def four():
    return goals(["ga", "npo"], ["rtn4", "rtn8"])


def test_waves_follow_on_each_other_and_leaves_come_last(sweep_of, four):
    sweep, names = sweep_of(four.items()), []
    while launches := sweep.next_launches():
        names.append([launch.stage.name if launch.stage else "leaf" for launch in launches])
        for launch in launches:
            sweep.take(launch, outcome([launch.stage] if launch.stage else []))
    assert names == [
        ["base"],
        ["retrain", "target"],
        ["unlearn", "unlearn"],
        ["evaluate"] * 8,
        ["leaf"] * 4,
    ]


def test_a_stage_is_believed_to_be_there_when_its_job_says_so(sweep_of, four):
    """A file system may show a folder late: nothing is started twice for that."""
    sweep = sweep_of(four.items())
    (base,) = sweep.next_launches()
    sweep.take(base, outcome([base.stage]))
    assert {launch.stage.name for launch in sweep.next_launches()} == {"target", "retrain"}


def test_a_stage_that_no_job_opened_is_built_if_it_is_not_there(sweep_of, four):
    """A job counts all below what it reused as reused, also what was pruned long ago."""
    sweep = sweep_of(four.items())
    (base,) = sweep.next_launches()
    for_all = {one.key: one.name for one in four[0][0].walk()}
    sweep.take(base, replace(outcome([base.stage]), reused=for_all))
    assert {launch.stage.name for launch in sweep.next_launches()} == {"target", "retrain"}


def test_what_is_on_disk_is_not_built(tmp_path, sweep_of, four):
    make(tmp_path / "cache", lambda stage, inputs, work: {}).get_or_build(four[0][0])
    sweep = sweep_of(four.items())
    assert [launch.stage.name for launch in sweep.next_launches()] == ["unlearn"]


def test_a_failed_stage_fails_its_leaves_and_no_others(sweep_of, four):
    sweep = sweep_of(four.items())
    while launches := sweep.next_launches():
        for launch in launches:
            bad = launch.stage is not None and launch.stage.params.get("method") == "ga"
            if launch.stage is None:
                assert launch.job in (2, 3)
            assert not (launch.stage is not None and launch.stage.name == "record")
            sweep.take(
                launch,
                outcome(
                    [launch.stage] if launch.stage and not bad else [],
                    failure="the loss became nan" if bad else None,
                ),
            )
    ended = sweep._leaves
    assert [ended[job].failure for job in range(4)] == ["the loss became nan"] * 2 + [None] * 2
    assert ended[0].label == "leaf 0 job=0"


def test_equal_leaves_are_run_once(sweep_of, four):
    leaves = [*four.items(), (4, four[1]), (5, four[1])]
    sweep, started = sweep_of(leaves), []
    stream = io.StringIO()
    sweep.announce(stream)
    assert "plan: 6 jobs, 2 equal" in stream.getvalue()
    while launches := sweep.next_launches():
        for launch in launches:
            started += [launch.job] if launch.stage is None else []
            sweep.take(launch, outcome([launch.stage] if launch.stage else []))
    assert started == [0, 1, 2, 3]


def test_the_end_names_what_failed_and_what_was_not_run(sweep_of, four, capsys):
    sweep = sweep_of([(0, four[0]), (1, four[0])])
    while launches := sweep.next_launches():
        for launch in launches:
            sweep.take(launch, failed("leaf 0", "no space left"))
    with pytest.raises(Finished) as status:
        sweep.close()
    assert status.value.code == 1
    told = capsys.readouterr().out
    assert "0 done, 1 failed, 1 skipped" in told
    assert "failed: leaf 0 job=0\n    no space left" in told
    assert "skipped: #1 job=1\n    the same result as #0 job=0" in told


def launch(kind, job=0):
    return Launch(job=job, overrides=("a=1",), kind=kind, stage=None)


def test_launches_that_ask_for_the_same_go_together():
    mixed = [launch("training"), launch("evaluating", 1), launch("quantizing", 2)]
    assert [len(group) for group in grouped(mixed, {}, None)] == [3]
    assert [len(group) for group in grouped(mixed, {}, 2)] == [2, 1]
    needs = {"training": {"gpus": 4}}
    assert [[one.job for one in group] for group in grouped(mixed, needs, None)] == [[0], [1, 2]]


def test_an_exception_that_no_job_expects_is_its_failure():
    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = MemoryError("16 GB wanted")
    assert outcome_of(result).failure == "MemoryError: 16 GB wanted"
    fine = outcome([])
    result = JobReturn(status=JobStatus.COMPLETED)
    result.return_value = fine
    assert outcome_of(result) is fine


def test_what_hydra_would_ignore_is_refused():
    require_sweepable(["method=ga,npo", "+grid=tiny_sure"], {"training": {"mem_gb": 8}})
    require_sweepable(
        ["runtime.home='a, b'", 'runtime.home="it\'s {a=b}, c"', "runtime.home=a\\,b"], {}
    )
    with pytest.raises(RequestRefused, match=r"\+cluster=slurm,local: presets .*swept"):
        require_sweepable(["+cluster=slurm,local"], {})
    with pytest.raises(RequestRefused, match=r"runtime.home=a,b: .*one home"):
        require_sweepable(["runtime.home=a,b"], {})
    with pytest.raises(RequestRefused, match=r"resources.trainings: unknown kind of stage"):
        require_sweepable([], {"trainings": {}})
