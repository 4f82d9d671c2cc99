"""One job of a sweep: checks the request, realises its stages, keeps and sends its record."""

import gc
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from transformers.utils.logging import disable_progress_bar

from unlearn_lab.build import Refused, locate
from unlearn_lab.graph.cache import Artifact, Cache, StageFailed
from unlearn_lab.graph.claim import Patience
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.stage import Stage
from unlearn_lab.launch import build_in_processes
from unlearn_lab.plan import Plan, plan
from unlearn_lab.plan_corpus import fold_of
from unlearn_lab.preflight import build_parts, compare_sizes, require_possible
from unlearn_lab.preflight_devices import require_devices, require_shardable
from unlearn_lab.report import results, wandb_sink
from unlearn_lab.report.closing import format_seconds
from unlearn_lab.report.ending import Outcome
from unlearn_lab.report.record import labelled, read_record
from unlearn_lab.settings import Report, Runtime
from unlearn_lab.unlearn.fit import read_steps

_log = logging.getLogger(__name__)
_TRAINING = "unlearn_lab.unlearn.train:"

_compared: set[str] = set()
"""Leaves whose sizes this process has compared: a sweep checks all jobs first, then runs each."""


@dataclass(frozen=True)
class Request:
    """A job as asked for: plain values, typed settings, the choice in each group, its graph."""

    config: Mapping[str, Any]
    runtime: Runtime
    report: Report
    choices: Mapping[str, str]
    plan: Plan

    @property
    def label(self) -> str:
        """What tells this job from the others, in words."""
        names = [
            self.choices[group] for group in ("model", "dataset", "method", "optimizer", "quant")
        ]
        return " ".join([*names, f"seed={self.config['seed']}"])


@dataclass
class _Progress:
    """Tells, stage by stage, what is being built and what is reused."""

    leaf: Stage
    built: dict[str, Artifact] = field(default_factory=dict[str, Artifact])
    _seen: set[str] = field(default_factory=set[str])

    def __call__(self, stage: Stage, artifact: Artifact | None) -> None:
        total = sum(1 for _ in self.leaf.walk())
        place = f"[{len(self._seen) + 1}/{total}] {describe(stage)}"
        if artifact is None:
            _log.info("%s ...", place)
            return
        self._seen.add(stage.key)
        if artifact.built_now:
            self.built[stage.key] = artifact
            _log.info("%s: %s", place, format_seconds(artifact.seconds))
        else:
            _log.debug("%s reused", place)

    def outcome(self, label: str, **result: Any) -> Outcome:
        """The job's end; after a success, whatever was not built was reused, opened or not."""
        whole = result["failure"] is None
        return Outcome(
            label=label,
            built={key: artifact.stage.name for key, artifact in self.built.items()},
            reused={
                stage.key: stage.name
                for stage in self.leaf.walk()
                if stage.key not in self.built and (whole or stage.key in self._seen)
            },
            seconds={key: artifact.seconds for key, artifact in self.built.items()},
            **result,
        )


def describe(stage: Stage) -> str:
    """A stage in words: `evaluate unlearn fold 3 (RTN 4 bits) 3f2a91c0`."""
    words = [_with_fold(stage)]
    if "model" in stage.inputs:
        words.append(_with_fold(stage.inputs["model"]))
    quantizer = stage.params.get("quant")
    if isinstance(quantizer, Mapping):
        kind = str(quantizer["_target_"]).rsplit(".", 1)[-1]
        bits = f"{quantizer['bits']} bits" if "bits" in quantizer else None
        detail = bits or quantizer.get("table") or quantizer.get("format")
        words.append(f"({kind} {detail})" if detail else f"({kind})")
    return " ".join([*words, stage.key[:8]])


def _with_fold(stage: Stage) -> str:
    fold = fold_of(stage)
    return stage.name if fold is None else f"{stage.name} fold {fold}"


def request(config: DictConfig, choices: Mapping[str, str]) -> Request:
    """Checks a composed configuration. Raises `Refused`, before anything is trained."""
    disable_progress_bar()
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
    made = {str(name): value for name, value in plain.items()}
    try:
        require_possible(runtime, report)
        require_devices(runtime)
        parts = build_parts(made)
        require_shardable(runtime, parts.update, parts.trainer)
        graph = plan(made, ContentKey(Path(runtime.home) / "cache" / "digests.json"))
        if graph.record.key not in _compared:
            compare_sizes(parts, graph, _cache(runtime, lambda stage, artifact: None))
            _compared.add(graph.record.key)
    except (ValueError, StageFailed) as error:
        raise Refused(str(error.__cause__ if isinstance(error, StageFailed) else error)) from error
    except OSError as error:
        raise Refused(_unusable(error, runtime.home)) from error
    return Request(made, runtime, report, choices, graph)


def _unusable(error: OSError, home: str) -> str:
    """The error in one line: of the folder of results, or of whichever other file it names."""
    named = error.filename
    if named is None or Path(named).absolute().is_relative_to(Path(home).absolute()):
        return f"runtime.home={home}: cannot be written to ({error})"
    return f"{named}: cannot be read ({error.strerror})"


def run(asked: Request) -> Outcome:
    """Realises the leaf and keeps its record; the outcome tells of a failed stage."""
    if asked.runtime.threads is not None:
        torch.set_num_threads(asked.runtime.threads)
    leaf = asked.plan.record
    progress = _Progress(leaf)
    cache = _cache(asked.runtime, progress)
    started = time.monotonic()
    try:
        artifact = cache.realise(leaf)
        record, hint = _deliver(asked, artifact, cache)
    except StageFailed as error:
        failure = f"{describe(error.stage)}: {error.__cause__}"
        _log.error("failed: %s", failure)
        _log.debug("the failure in full", exc_info=error)
        return progress.outcome(asked.label, record=None, failure=failure, hint="")
    except OSError as error:
        _log.error("failed: %s", error)
        return progress.outcome(asked.label, record=None, failure=str(error), hint="")
    outcome = progress.outcome(asked.label, record=record, failure=None, hint=hint)
    _log.info(
        "%s: done in %s, %d stages built, %d reused",
        asked.label,
        format_seconds(time.monotonic() - started),
        len(outcome.built),
        len(outcome.reused),
    )
    return outcome


def _deliver(asked: Request, leaf: Artifact, cache: Cache) -> tuple[Mapping[str, Any], str]:
    """Keeps the record locally, then sends it; returns it with the sink's line."""
    home = Path(asked.runtime.home)
    record = labelled(read_record(leaf, home), asked.config, asked.choices)
    if "export" in record:
        _log.info("%s: exported to %s", asked.label, home / str(record["export"]))
    results.append(home, record)
    curves = read_steps(cache.folder(asked.plan.unlearn))
    return record, wandb_sink.send(record, home, asked.report.wandb, curves).line


def _cache(runtime: Runtime, progress: Any) -> Cache:
    def build(stage: Stage, inputs: Mapping[str, Artifact], work: Path) -> Mapping[str, object]:
        if stage.builder.startswith(_TRAINING) and runtime.devices > 1:
            return build_in_processes(stage, inputs, work, runtime)
        facts = locate(stage.builder, stage.name)(stage.params, inputs, work, runtime)
        if stage.builder.startswith(_TRAINING):
            gc.collect()  # Lightning's trainer refers to itself: model and moments would stay
        return facts

    patience = Patience(
        beat=runtime.claim_beat, look=runtime.claim_look, silence=runtime.claim_silence
    )
    return Cache(root=Path(runtime.home) / "cache", build=build, watch=progress, patience=patience)
