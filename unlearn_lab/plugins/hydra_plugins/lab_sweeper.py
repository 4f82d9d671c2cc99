"""Hydra's basic sweeper, but it refuses the whole sweep if any of its jobs is impossible."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf, open_dict


@dataclass
class LabSweeperConf:
    """The options of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.lab_sweeper.LabSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(
    group="hydra/sweeper", name="lab", node=LabSweeperConf, provider="unlearn_lab"
)


class LabSweeper(BasicSweeper):
    """Checks every job, runs them through the launcher, closes with table and exit status."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes and checks each job; the first that is impossible refuses them all."""
        from unlearn_lab.build import Refused
        from unlearn_lab.exits import RequestRefused
        from unlearn_lab.job import request

        if self.config is None or self.hydra_context is None:
            raise RuntimeError("Hydra calls setup before it sweeps")
        for overrides in batch:
            config = self.hydra_context.config_loader.load_sweep_config(
                self.config, list(overrides)
            )
            choices = dict(config.hydra.runtime.choices)
            with open_dict(config):
                del config["hydra"]
            try:
                request(config, choices)
            except Refused as error:
                raise RequestRefused(f"{' '.join(overrides)}\n{error}") from error

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the sweep; ends the process with its status."""
        from unlearn_lab.report.ending import close
        from unlearn_lab.settings import Report, Runtime

        if self.config is None:
            raise RuntimeError("Hydra calls setup before it sweeps")
        returns: Sequence[Sequence[JobReturn]] = super().sweep(arguments)
        outcomes = [job.return_value for batch in returns for job in batch]
        runtime = OmegaConf.to_object(self.config.runtime)
        report = OmegaConf.to_object(self.config.report)
        if not isinstance(runtime, Runtime) or not isinstance(report, Report):
            raise TypeError("the configuration's top level does not follow settings.Settings")
        close(outcomes, runtime, report)
