"""Hydra's joblib launcher, limited to the cores of the machine."""

import functools
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class LabJoblib(Launcher):
    """Launches jobs as processes of this machine."""

    def __init__(self, **parameters: Any) -> None:
        from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

        self._joblib = JoblibLauncher(**parameters)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Raises `RequestRefused` for more threads, over all jobs, than cores."""
        from unlearn_lab.config.exits import RequestRefused
        from unlearn_lab.execute.cores import require_cores

        try:
            require_cores(config.hydra.launcher.n_jobs, config.runtime.threads)
        except ValueError as error:
            raise RequestRefused(str(error)) from error
        task = functools.partial(_without_leaving, task_function)
        self._joblib.setup(hydra_context=hydra_context, task_function=task, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Returns each job's return in order."""
        return self._joblib.launch(job_overrides, initial_job_idx)


def _without_leaving(task: TaskFunction, config: DictConfig) -> Any:
    """Runs the task in a worker; fails on `SystemExit`, with which joblib would end the sweep."""
    try:
        return task(config)
    except SystemExit as leaving:
        raise RuntimeError(
            f"its process was ended with status {leaving.code}; rerun the same command to resume"
        ) from leaving
