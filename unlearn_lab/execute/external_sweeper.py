"""Sweeps of external sweepers (Optuna, Hydra's basic one): reports trials, closes the sweep."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.text import Text

from unlearn_lab.config.build import Refused
from unlearn_lab.config.deferred import require_shared
from unlearn_lab.config.exits import REFUSED, Finished
from unlearn_lab.config.settings import Report, Runtime
from unlearn_lab.config.trusted import trust
from unlearn_lab.record.outcome import Outcome, failed
from unlearn_lab.record.tuning import tune_target
from unlearn_lab.report.terminal.table import open_console

_OURS = "hydra_plugins.lab_sweeper.LabSweeper"
_BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
_STARTED, _OUTCOME, _OVERRIDES = "started", "outcome.json", ".hydra/overrides.yaml"
_BEST = "optimization_results.yaml"


class TrialFailed(ValueError):
    """A trial has no objective value; the search counts it as failed and continues."""


@dataclass(frozen=True)
class _Sweep:
    """A sweep of an external sweeper that this process has started."""

    config: DictConfig
    folder: Path
    started: int

    def wrote(self, file: Path) -> bool:
        """Whether a file in the folder was written by this sweep, not by an earlier one there."""
        return file.exists() and file.stat().st_mtime_ns >= self.started


_begun: list[_Sweep] = []


class ExternalSweep(Callback):
    """Registers a sweep of an external sweeper, so that `close_external_sweep` can close it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Ends the process with status 2 where no job, or not every job, could be composed.

        So it does where an external sweeper would have no objective to search by. Hydra turns an
        exception of a callback into a warning, but not `SystemExit`.
        """
        ours = config.hydra.sweeper._target_ == _OURS
        try:
            _require_shared(config)
            if ours:
                return
            _trust(config)
            _require_number(config)
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(REFUSED)
        if config.dry:
            return
        mark = Path(config.hydra.sweep.dir) / _STARTED
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        _begun.append(_Sweep(config, mark.parent, mark.stat().st_mtime_ns))


def _require_shared(config: DictConfig) -> None:
    """Raises `ValueError` for a setting that only some options of a swept group have."""

    def compose(job: list[str]) -> DictConfig:
        return GlobalHydra.instance().config_loader().load_sweep_config(config, job)

    params = OmegaConf.select(config.hydra.sweeper, "params") or {}
    arguments = OmegaConf.select(config.hydra, "overrides.task") or ()
    require_shared(list(arguments), params, compose)


def _trust(config: DictConfig) -> None:
    """Trusts the packages that all jobs trust; raises `Refused` where `trust` is swept."""
    if "trust" in (OmegaConf.select(config.hydra.sweeper, "params") or ()):
        raise Refused("trust: must be the same in all jobs of a sweep")
    try:
        trust(list(config.trust))
    except ValueError as error:
        raise Refused(str(error)) from error


def _require_number(config: DictConfig) -> None:
    """Raises `Refused` when the sweeper searches and `tune` does not give a usable objective."""
    sweeper = config.hydra.sweeper
    tune_target(_plain(config.tune))
    if config.dry and sweeper._target_ != _BASIC:
        raise Refused(
            f"dry=true: {sweeper._target_} chooses jobs by the results of earlier ones; plan a "
            "single job instead"
        )
    if config.until is not None and config.tune is not None:
        raise Refused(
            f"until={config.until}: ends before tune has a value to search by; use tune=null"
        )
    if config.tune is None and sweeper._target_ != _BASIC:
        raise Refused(
            f"tune=null: {sweeper._target_} needs an objective, such as tune=forget_quality"
        )
    direction = OmegaConf.select(sweeper, "direction")
    if direction is not None and "maximize" not in str(direction):
        raise Refused(
            f"hydra.sweeper.direction={direction}: must be maximize, as a higher "
            "value of tune is better"
        )


def is_external(hydra: Any) -> bool:
    """Whether this job belongs to a sweep of an external sweeper."""
    return hydra.mode == RunMode.MULTIRUN and hydra.sweeper._target_ != _OURS


def report_outcome(outcome: Outcome, tune: Mapping[str, Any] | None, hydra: Any) -> object:
    """Stores the outcome for `close_external_sweep` and returns the trial's objective value.

    Without `tune`, returns the outcome itself. Raises `TrialFailed` where there is no value.

    Args:
        outcome: the job's outcome.
        tune: the configured objective's node.
        hydra: Hydra's own configuration of the job.
    """
    value, target = None, tune_target(tune)
    if target is not None and outcome.record is not None:
        try:
            value = target(outcome.record)
        except ValueError as error:
            outcome = replace(outcome, failure=str(error))
    _keep(outcome, hydra, refused=False)
    if value is None and target is not None:
        raise TrialFailed(outcome.failure)
    return outcome if value is None else value


def report_refusal(reason: str, hydra: Any) -> None:
    """Stores in the job's folder that its request was refused."""
    _keep(failed("", reason), hydra, refused=True)


def _keep(outcome: Outcome, hydra: Any, *, refused: bool) -> None:
    body = {"outcome": asdict(outcome), "refused": refused, "job": list(hydra.overrides.task)}
    file = Path(hydra.runtime.output_dir) / _OUTCOME
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(body), encoding="utf-8")
    fresh.rename(file)


def close_external_sweep() -> None:
    """Closes the external sweeper's sweep that this process ran; returns if there was none.

    Raises `Finished` as `LabSweeper` does, with code 2 where every job was refused.
    """
    if not _begun:
        return
    from unlearn_lab.execute.ending import close

    sweep = _begun.pop()
    jobs = list(_jobs(sweep))
    if jobs and all(job["refused"] for job in jobs):
        sys.stderr.write(f"{jobs[0]['outcome']['failure']}\n")
        raise Finished(REFUSED)
    runtime, report = (OmegaConf.to_object(sweep.config[name]) for name in ("runtime", "report"))
    if not isinstance(runtime, Runtime) or not isinstance(report, Report):
        raise TypeError("runtime and report do not follow unlearn_lab.config.settings")
    try:
        close(list(_labelled(jobs)), runtime, report, before=[], skipped=[], again=[])
    finally:
        _print_best(sweep)


def _jobs(sweep: _Sweep) -> Iterator[Mapping[str, Any]]:
    """Yields what each job of this sweep stored, in order; a lost job counts as failed."""
    folders = [folder for folder in sweep.folder.iterdir() if folder.name.isdigit()]
    for folder in sorted(folders, key=lambda folder: int(folder.name)):
        if sweep.wrote(folder / _OUTCOME):
            yield json.loads((folder / _OUTCOME).read_text(encoding="utf-8"))
        elif sweep.wrote(folder / _OVERRIDES):
            reason = "its process ended without a result; rerun the same command to resume"
            job = list(map(str, OmegaConf.load(folder / _OVERRIDES)))
            yield {"outcome": asdict(failed("", reason)), "refused": False, "job": job}


def _labelled(jobs: Sequence[Mapping[str, Any]]) -> Iterator[Outcome]:
    """Yields the outcomes, each labelled by the overrides that not all jobs share."""
    shared = set[str].intersection(*(set(job["job"]) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        label = " ".join(override for override in job["job"] if override not in shared)
        yield Outcome(**job["outcome"] | {"label": label})


def _print_best(sweep: _Sweep) -> None:
    """Prints the best trial of an Optuna study, earlier runs of the same study included."""
    file = sweep.folder / _BEST
    target = tune_target(_plain(sweep.config.tune))
    if target is None or not sweep.wrote(file):
        return
    found = OmegaConf.to_container(OmegaConf.load(file))
    if isinstance(found, dict) and "best_value" in found:
        settings = " ".join(f"{name}={value}" for name, value in found["best_params"].items())
        line = f"best:    {target.spell(found['best_value'])}, with {settings}"
        open_console(sys.stdout).print(Text(line), soft_wrap=True)


def _plain(node: Any) -> Any:
    return None if node is None else OmegaConf.to_container(node, resolve=True)
