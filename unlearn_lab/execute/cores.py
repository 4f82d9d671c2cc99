"""Decides how many jobs this machine runs in parallel without more threads than cores."""

import os


def num_cores() -> int:
    """Returns the number of cores that this process may use, by its affinity mask if it has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_jobs(threads: int | None, accelerator: str) -> int:
    """Returns the number of parallel jobs with `threads` each; 1 where they would share a GPU.

    `threads` None counts as 1; `accelerator` is `runtime.accelerator`.
    """
    from unlearn_lab.models.device import device_of

    if accelerator != "cpu" and device_of(accelerator).type != "cpu":
        return 1
    return max(1, num_cores() // max(1, threads or 1))


def require_cores(jobs: int, threads: int | None) -> None:
    """Raises `ValueError` when `jobs` with `threads` each need more cores than available.

    `jobs` follows joblib: -1 is all cores, -2 all but one.
    """
    cores = num_cores()
    side_by_side = jobs if jobs > 0 else max(1, cores + 1 + jobs)
    if side_by_side * (threads or 1) > cores:
        raise ValueError(
            f"hydra.launcher.n_jobs={jobs}, runtime.threads={threads}: {side_by_side} jobs of "
            f"{threads or 1} threads need more than the {cores} cores of this machine"
        )
