"""Hydra's basic sweeper; it refuses a sweep before training if any of its jobs is impossible."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf, open_dict


@dataclass
class LabSweeperConf:
    """The options of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.lab_sweeper.LabSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    resources: dict[str, Any] = field(default_factory=dict[str, Any])


ConfigStore.instance().store(
    group="hydra/sweeper", name="lab", node=LabSweeperConf, provider="unlearn_lab"
)


class LabSweeper(BasicSweeper):
    """Checks every job, launches them, and closes with the table and the exit status."""

    def __init__(
        self, max_batch_size: int | None, params: dict[str, str] | None, resources: dict[str, Any]
    ) -> None:
        super().__init__(max_batch_size, params)
        self.resources = resources

    def setup(self, **given: Any) -> None:
        """Hydra's, with a launcher whose dead jobs are failed leaves."""
        super().setup(**given)
        if self.launcher is None:
            raise RuntimeError("Hydra's basic sweeper makes a launcher")
        self.launcher = _Tolerant(self.launcher)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Before the first batch, checks the jobs of all; one impossible job refuses them all."""
        if self.overrides is not None and self.batch_index == 1:
            for overrides in (job for later in self.overrides for job in later):
                self._check(overrides)

    def _check(self, overrides: Sequence[str]) -> None:
        from unlearn_lab.build import Refused
        from unlearn_lab.exits import RequestRefused
        from unlearn_lab.job import request

        if self.config is None or self.hydra_context is None:
            raise RuntimeError("Hydra calls setup before it sweeps")
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        choices = dict(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]
        try:
            request(config, choices)
        except Refused as error:
            raise RequestRefused(f"{error}\nin the job {' '.join(overrides)}") from error

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the sweep; ends the process with its status."""
        from unlearn_lab.report.ending import close
        from unlearn_lab.settings import Report, Runtime

        if self.config is None:
            raise RuntimeError("Hydra calls setup before it sweeps")
        _refuse_swept_presets(arguments)
        returns: Sequence[Sequence[JobReturn]] = super().sweep(arguments)
        runtime, report = (OmegaConf.to_object(self.config[name]) for name in ("runtime", "report"))
        if not isinstance(runtime, Runtime) or not isinstance(report, Report):
            raise TypeError("runtime and report do not follow unlearn_lab.settings")
        close([job.return_value for batch in returns for job in batch], runtime, report)


class _Tolerant(Launcher):
    """A launcher that turns jobs that ended in an exception into failed leaves."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def setup(self, **given: Any) -> None:
        """Done by the launcher inside."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """The returns of the launcher inside, all of them completed."""
        from unlearn_lab.report.ending import Outcome

        returns = self._launcher.launch(job_overrides, initial_job_idx)
        for job in returns:
            if job.status == JobStatus.FAILED:
                reason = str(job._return_value)
                job.status, job.return_value = JobStatus.COMPLETED, Outcome(
                    label=" ".join(job.overrides or []), record=None, failure=reason,
                    built={}, reused={}, seconds={}, hint="",
                )  # fmt: skip
        return returns


def _refuse_swept_presets(arguments: Sequence[str]) -> None:
    """Hydra would take the settings of one preset for all jobs, in silence."""
    from unlearn_lab.exits import RequestRefused

    for argument in arguments:
        if re.match(r"\+?(grid|cluster)=.*,", argument):
            raise RequestRefused(f"{argument}: presets cannot be swept over; run them one by one")
