"""How many jobs this machine can run side by side without more threads than cores."""

import os


def num_cores() -> int:
    """The cores that this process may use: those of its affinity mask where there is one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_jobs(threads: int | None, accelerator: str) -> int:
    """Jobs side by side, `threads` each; one at a time where they would share a GPU.

    `threads` null is a thread each. The accelerator is `runtime.accelerator`.
    """
    from unlearn_lab.models.device import device_of

    if accelerator != "cpu" and device_of(accelerator).type != "cpu":
        return 1
    return max(1, num_cores() // max(1, threads or 1))


def require_cores(jobs: int, threads: int | None) -> None:
    """Raises `ValueError` when `jobs` of `threads` each want more cores than there are.

    `jobs` counts as joblib's: -1 is all cores, -2 all but one.
    """
    cores = num_cores()
    side_by_side = jobs if jobs > 0 else max(1, cores + 1 + jobs)
    if side_by_side * (threads or 1) > cores:
        raise ValueError(
            f"hydra.launcher.n_jobs={jobs}, runtime.threads={threads}: {side_by_side} jobs of "
            f"{threads or 1} threads want more than the {cores} cores of this machine"
        )
