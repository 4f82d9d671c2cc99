"""Defines a requested job: plain values, typed settings and the graph of its stages."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from unlearn_lab.config.build import Refused
from unlearn_lab.config.conf_folder import require_settled
from unlearn_lab.config.settings import Report, Runtime
from unlearn_lab.config.spelling import require_present_names, written_out
from unlearn_lab.config.trusted import trust
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.claim import ClaimTimeouts
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.job_graph import Parts, Plan, plan

_KEY_LENGTH = 8
"""Digits of a stage's key that suffice to name it."""
MAX_SEED = 2**32 - 1
"""The largest seed: ranks and epochs are added to it in one seed of 64 bits."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """A composed configuration with everything resolved.

    Attributes:
        config: all of it, as plain values.
        runtime: its group `runtime`, typed.
        report: its group `report`, typed.
    """

    config: Mapping[str, Any]
    runtime: Runtime
    report: Report

    @property
    def cache(self) -> Path:
        """The folder of the artifacts."""
        return Path(self.runtime.home) / "cache"

    @property
    def timeouts(self) -> ClaimTimeouts:
        """The timing of claims and leases."""
        runtime = self.runtime
        return ClaimTimeouts(
            heartbeat=runtime.claim_beat, poll=runtime.claim_look, stale_after=runtime.claim_silence
        )


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A requested job.

    Attributes:
        values: its resolved configuration.
        choices: the option chosen in each config group.
        plan: the graph of its stages.
        goals: the stages to build: the record, or those that `until` names.
        prepared: artifacts built while the request was checked, by key.
    """

    values: Values
    choices: Mapping[str, str]
    plan: Plan
    goals: tuple[Stage, ...]
    prepared: Mapping[str, Artifact] = field(default_factory=dict[str, Artifact])

    @property
    def label(self) -> str:
        """Options and seed, which distinguish this job from others."""
        names = [
            self.choices[group] for group in ("model", "dataset", "method", "optimizer", "quant")
        ]
        return " ".join([*names, f"seed={self.values.config['seed']}"])


def read_values(config: DictConfig) -> Values:
    """Resolves a composed configuration, and trusts the packages that it names from now on.

    Expands `trainer.weights=bf16_sr`, which no later code sees. Raises `Refused` where a value is
    missing or mistyped, a setting has moved, a package cannot be trusted, or `conf_dir` is set too
    late.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        runtime, report = OmegaConf.to_object(config.runtime), OmegaConf.to_object(config.report)
    except MissingMandatoryValue as error:
        raise Refused(f"{error.full_key}: must be given, as {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise Refused(" ".join(str(error).split())) from error
    if (
        not isinstance(plain, dict)
        or not isinstance(runtime, Runtime)
        or not isinstance(report, Report)
    ):
        raise TypeError("the configuration's top level does not follow settings.Settings")
    values = {str(name): value for name, value in plain.items()}
    if not 0 <= values["seed"] <= MAX_SEED:
        raise Refused(f"seed={values['seed']}: must be from 0 to {MAX_SEED}")
    try:
        require_present_names(values)
        trust(values["trust"])
        require_settled(values["conf_dir"])
    except ValueError as error:
        raise Refused(str(error)) from error
    return Values(config=written_out(values), runtime=runtime, report=report)


def plan_request(
    values: Values, parts: Parts, choices: Mapping[str, str], content: ContentKey
) -> JobRequest:
    """Plans a job from its built parts.

    Raises `Refused` when what it reads from outside the cache is not found, when `until` names no
    stage, or when a node lacks a setting that the graph depends on.

    Args:
        values: the resolved configuration.
        parts: its built parts.
        choices: the option chosen in each config group.
        content: digests and commits of what is outside the cache.
    """
    try:
        graph = plan(parts, values.config, content)
    except KeyError as error:
        raise Refused(f"the configuration lacks {error}, which the plan needs") from error
    except ValueError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(unusable(error, values.runtime.home)) from error
    goals = _goals(graph.record, values.config["until"])
    return JobRequest(values=values, choices=choices, plan=graph, goals=goals)


def content_key(values: Values) -> ContentKey:
    """Returns the digests of what is outside the cache, which are stored in the cache's folder.

    A dry run, which only plans, needs no network.
    """
    return ContentKey(values.cache / "digests.json", lenient=values.config["dry"])


def unusable(error: OSError, home: str) -> str:
    """Returns the error in one line: of the results folder, or of another file that it names."""
    named = error.filename
    if named is None or Path(named).absolute().is_relative_to(Path(home).absolute()):
        return f"runtime.home={home}: cannot be written to ({error})"
    return f"{named}: cannot be read ({error.strerror})"


def _goals(record: Stage, until: object) -> tuple[Stage, ...]:
    if until is None:
        return (record,)
    stages, name = tuple(record.walk()), str(until)
    if name in record.inputs:
        return (record.inputs[name],)
    found = tuple(stage for stage in stages if stage.name == name)
    if not found and len(name) >= _KEY_LENGTH:
        found = tuple(stage for stage in stages if stage.key.startswith(name))
    if not found:
        if re.fullmatch("[0-9a-f]{16,64}", name):
            raise Refused(
                f"until={name}: no stage of this job has this key; code or a file that it reads "
                "has changed since the key was made, or this is another checkout"
            )
        known = ", ".join(dict.fromkeys([*(stage.name for stage in stages), *record.inputs]))
        raise Refused(f"until={name}: no stage of this job; it has {known}")
    return found
