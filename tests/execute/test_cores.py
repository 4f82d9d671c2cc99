"""Jobs side by side never want more threads than there are cores."""

import os

import pytest

from unlearn_lab.execute.cores import num_cores, num_jobs, require_cores


@pytest.fixture
def one_core():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
@pytest.mark.usefixtures("one_core")
def test_a_process_bound_to_one_core_has_one():
    assert num_cores() == 1
    assert num_jobs(1, "cpu") == 1


@pytest.mark.parametrize(
    ("cores", "threads", "jobs"), [(8, 1, 8), (8, 3, 2), (8, None, 8), (2, 8, 1)]
)
def test_jobs_times_threads_are_at_most_the_cores(monkeypatch, cores, threads, jobs):
    monkeypatch.setattr("unlearn_lab.execute.cores.num_cores", lambda: cores)
    assert num_jobs(threads, "cpu") == jobs


def test_jobs_are_not_put_on_one_gpu_together():
    assert num_jobs(1, "meta") == 1


@pytest.mark.parametrize(
    ("jobs", "threads", "cores"), [(9, 1, 8), (-1, 2, 8), (-2, 2, 8), (1, 9, 8), (3, 3, 8)]
)
def test_more_threads_than_cores_are_refused(monkeypatch, jobs, threads, cores):
    monkeypatch.setattr("unlearn_lab.execute.cores.num_cores", lambda: cores)
    with pytest.raises(ValueError, match=rf"n_jobs={jobs}, runtime.threads={threads}: .* 8 cores"):
        require_cores(jobs, threads)


@pytest.mark.parametrize(("jobs", "threads"), [(8, 1), (-1, None), (-1, 1), (2, 4), (-5, 2)])
def test_as_many_threads_as_cores_are_fine(monkeypatch, jobs, threads):
    monkeypatch.setattr("unlearn_lab.execute.cores.num_cores", lambda: 8)
    require_cores(jobs, threads)
