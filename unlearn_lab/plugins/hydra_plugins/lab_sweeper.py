"""Hydra's basic sweeper in waves: plans all jobs, builds shared stages first, leaves last."""

import copy
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf, open_dict, read_write

from unlearn_lab.config.composition import RememberingRepository
from unlearn_lab.config.deferred import plain_job_override

if TYPE_CHECKING:  # Hydra imports every plugin to show its help
    from unlearn_lab.execute.sweep import Launch
    from unlearn_lab.graph.content import ContentKey
    from unlearn_lab.record.outcome import Outcome

_log = logging.getLogger("unlearn_lab.execute.sweep")


@dataclass
class LabSweeperConf:
    """The options of Hydra's basic sweeper, and launcher settings for each kind of job.

    Attributes:
        _target_: the sweeper's class.
        max_batch_size: maximum number of jobs that are launched together.
        params: overrides to sweep over, by name.
        resources: settings merged into `hydra.launcher`, by kind (training, quantizing,
            evaluating).
    """

    _target_: str = "hydra_plugins.lab_sweeper.LabSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    resources: dict[str, Any] = field(default_factory=dict[str, Any])


ConfigStore.instance().store(
    group="hydra/sweeper", name="lab", node=LabSweeperConf, provider="unlearn_lab"
)


class LabSweeper(BasicSweeper):
    """Checks and plans every job, builds in waves, ends with the table and the exit status."""

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self._resources = resources or {}
        self._setup: dict[str, Any] = {}
        self._launched = 0
        self._content: ContentKey | None = None

    def setup(self, **given: Any) -> None:
        """Stores what launchers are created from: Hydra's context, task and configuration."""
        self._setup = given
        self.hydra_context, self.config = given["hydra_context"], given["config"]
        loader: Any = given["hydra_context"].config_loader
        loader.repository = RememberingRepository(loader.get_search_path())

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the sweep; raises `Finished` with its exit status, unless `dry`."""
        from unlearn_lab.execute.sweep import Job, Sweep, grouped, require_sweepable
        from unlearn_lab.graph.waves import KINDS

        require_sweepable(arguments, self._resources)
        dry = self._setup["config"].dry
        for kind in () if dry else KINDS:  # else a launcher may refuse half-way
            self._launcher(kind)
        given = self._jobs(arguments)
        what = "planning" if dry else "checking settings, models and texts"
        _log.info("%d job%s: %s", len(given), "" if len(given) == 1 else "s", what)
        jobs = [(overrides, self._request(overrides)) for overrides in given]
        sweep = Sweep([Job.of(given, asked) for given, asked in jobs], jobs[0][1].values)
        if dry:
            return sweep.announce(sys.stdout)
        sweep.announce(sys.stderr)
        with sweep.kept():
            while launches := sweep.next_launches():
                for group in grouped(launches, self._resources, self.max_batch_size):
                    for launch, outcome in zip(group, self._start(group), strict=True):
                        sweep.take(launch, outcome)
        sweep.close()

    def _jobs(self, arguments: list[str]) -> list[list[str]]:
        """Returns the overrides of every job, with the sweep's name: it contains the start time."""
        config, loader = self._setup["config"], self._setup["hydra_context"].config_loader
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "multirun.yaml")
        name = "report.sweep='{}'".format(str(config.report.sweep).replace("'", "\\'"))
        (jobs,) = self.split_arguments(overrides, None)
        return [[*map(plain_job_override, job), name] for job in jobs]

    def _request(self, overrides: Sequence[str]) -> Any:
        """Returns the job's request: checked against models and texts, or only planned if `dry`."""
        from unlearn_lab.config.build import Refused
        from unlearn_lab.config.exits import RequestRefused
        from unlearn_lab.plan.request import content_key, read_values

        master, loader = self._setup["config"], self._setup["hydra_context"].config_loader
        config = loader.load_sweep_config(master, list(overrides))
        choices = dict(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]
        if config.dry != master.dry:
            raise RequestRefused("dry: must be the same in all jobs of a sweep")
        if config.trust != master.trust:
            raise RequestRefused("trust: must be the same in all jobs of a sweep")
        try:
            values = read_values(config)
            self._content = self._content or content_key(values)
            if master.dry:
                from unlearn_lab.execute.parts import plan_values

                return plan_values(values, choices, self._content)
            from unlearn_lab.execute.job import request

            return request(config, choices, self._content)
        except Refused as error:
            raise RequestRefused(f"{error}\nin the job {' '.join(overrides)}") from error

    def _start(self, group: Sequence["Launch"]) -> list["Outcome"]:
        """Starts jobs through the launcher and waits for them.

        If a worker's death loses the results of the other jobs, each is restarted separately:
        finished stages are reused, and only the job that kills its worker fails.
        """
        from unlearn_lab.config.exits import NO_ROOM
        from unlearn_lab.execute.sweep import dead_workers, outcome_of
        from unlearn_lab.plan.request import unusable
        from unlearn_lab.record.outcome import failed

        first, self._launched = self._launched, self._launched + len(group)
        try:
            overrides = [launch.overrides for launch in group]
            returns = self._launcher(group[0].kind).launch(overrides, first)
        except dead_workers() as error:
            _log.debug("the launcher failed", exc_info=True)
            reason = str(error)
            if isinstance(error, OSError) and error.errno in NO_ROOM:  # of a job's folder
                reason = unusable(error, str(self._setup["config"].runtime.home))
            if len(group) == 1:
                return [failed("", f"its process ended without a result: {reason}")]
            _log.warning("%d jobs are lost (%s); starting them one by one", len(group), reason)
            return [outcome for launch in group for outcome in self._start([launch])]
        return [outcome_of(result) for result in returns]

    def _launcher(self, kind: str) -> Launcher:
        """Creates the configured launcher with the resources of a kind of job."""
        config = copy.deepcopy(self._setup["config"])
        with read_write(config.hydra):
            config.hydra.launcher = OmegaConf.merge(
                config.hydra.launcher, self._resources.get(kind, {})
            )
        return Plugins.instance().instantiate_launcher(**{**self._setup, "config": config})
