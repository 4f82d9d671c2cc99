"""Hydra's submitit launchers, without losing all jobs when a single one dies.

The plugin's `launch` raises for all jobs. Here a dead job (out of memory, cancelled, lost node) is
one failed return.
"""

import logging
import shutil
import subprocess
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from submitit import Job

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 15.0
_LOOKS_WITHOUT = 3
_SECONDS_BETWEEN = 5.0
"""Results appear late on a shared file system; submitit also waits 15 seconds."""


class _Submitit(Launcher):
    """Common part of the submitit launchers; the plugin's own launcher runs in the job."""

    cluster: ClassVar[str]

    def __init__(self, **parameters: Any) -> None:
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        made = {"slurm": submitit_launcher.SlurmLauncher, "local": submitit_launcher.LocalLauncher}
        self._in_job = made[self.cluster](**parameters)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Stores what a job needs to compose its configuration."""
        self._in_job.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Returns each job's return in order; that of a dead job is a failure with its reason."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            jobs = self._submit(job_overrides, initial_job_idx)
        except (FailedJobError, FailedSubmissionError) as error:
            reason = f"{self.cluster} accepted no job: {_last_line(str(error))}"
            return [_failed(overrides, reason) for overrides in job_overrides]
        for job, overrides in zip(jobs, job_overrides, strict=True):
            _log.info("%s job %s: %s", self.cluster, job.job_id, " ".join(overrides))
        return [
            self._return_of(job, overrides)
            for job, overrides in zip(jobs, job_overrides, strict=True)
        ]

    def _submit(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> "Sequence[Job[JobReturn]]":
        """Submits as the plugin does: an array, where the cluster has arrays, of launcher calls."""
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        settings = dict(self._in_job.params)
        folder = settings.pop("submitit_folder")
        limit = {}
        if "max_num_timeout" in settings:
            limit[f"{self.cluster}_max_num_timeout"] = settings.pop("max_num_timeout")
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster, **limit)
        of_all = BaseQueueConf.__dataclass_fields__
        executor.update_parameters(
            **{
                name if name in of_all else f"{self.cluster}_{name}": value
                for name, value in settings.items()
            }
        )
        state = Singleton.get_state()
        calls = [
            (list(overrides), "hydra.sweep.dir", number, str(number), state)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        return executor.map_array(self._in_job, *zip(*calls, strict=True))

    def _return_of(self, job: "Job[JobReturn]", overrides: Sequence[str]) -> JobReturn:
        """Waits for the job, also while a requeued one is in the queue, and returns its result."""
        looks_without, pause = 0, 1.0
        while not self._is_over(job):
            if looks_without == _LOOKS_WITHOUT:
                return self._lost(job, overrides)
            time.sleep(_SECONDS_BETWEEN if looks_without else pause)
            pause = min(1.2 * pause, _LONGEST_PAUSE)
            looks_without = 0 if self._in_queue(job) else looks_without + 1
        return self._lost(job, overrides) if job.exception() else job.results()[0]

    def _lost(self, job: "Job[JobReturn]", overrides: Sequence[str]) -> JobReturn:
        last = _last_line(job.stderr() or job.stdout() or "")
        reason = f"{last} ({job.paths.stderr})" if last else f"see {job.paths.stderr}"
        return _failed(overrides, f"{self.cluster} job {job.job_id} left no result: {reason}")

    @abstractmethod
    def _is_over(self, job: "Job[JobReturn]") -> bool:
        """Whether the job is known to have ended."""

    @abstractmethod
    def _in_queue(self, job: "Job[JobReturn]") -> bool:
        """Whether the job may still produce a result."""


class LabSlurm(_Submitit):
    """Launches jobs on a Slurm cluster, with or without accounting (`sacct`).

    A job has ended when its result file exists or `squeue` no longer lists it.
    """

    cluster = "slurm"

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Raises `RequestRefused` where there is no Slurm."""
        from unlearn_lab.config.exits import RequestRefused

        if shutil.which("sbatch") is None:
            raise RequestRefused("hydra/launcher=lab_slurm: there is no Slurm here (no sbatch)")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def _is_over(self, job: "Job[JobReturn]") -> bool:
        result = job.task(0).paths.result_pickle
        return result.parent.exists() and result in result.parent.iterdir()

    def _in_queue(self, job: "Job[JobReturn]") -> bool:
        command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        return asked.returncode != 0 or job.job_id in asked.stdout.split()


class LabSubmitit(_Submitit):
    """Launches jobs as processes of this machine, whose end is known at once."""

    cluster = "local"

    def _is_over(self, job: "Job[JobReturn]") -> bool:
        return job.done()

    def _in_queue(self, job: "Job[JobReturn]") -> bool:
        return True


def _failed(overrides: Sequence[str], reason: str) -> JobReturn:
    made = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
    made.return_value = RuntimeError(reason)
    return made


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
