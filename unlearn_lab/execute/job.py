"""Runs one job of a sweep: checks the request, builds its stages, stores and sends its record."""

import dataclasses
import gc
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from unlearn_lab.config.build import Refused, locate
from unlearn_lab.config.exits import NO_ROOM
from unlearn_lab.config.once import warn_once
from unlearn_lab.config.redaction import reject_secrets
from unlearn_lab.execute.arithmetic import with_arithmetic
from unlearn_lab.execute.given_weights import with_stored_weights
from unlearn_lab.execute.launch import build_in_processes
from unlearn_lab.execute.observed import observed
from unlearn_lab.execute.parts import Parts, build_parts
from unlearn_lab.execute.preflight_devices import (
    require_devices,
    require_shardable,
    require_supported,
)
from unlearn_lab.execute.preflight_settings import require_possible
from unlearn_lab.execute.wandb_runs import (
    TRAINING,
    leaf_run,
    training_run,
    trainings,
)
from unlearn_lab.execute.watching import curve_entries, scoring_settings, warn_without_curve
from unlearn_lab.graph.cache import Artifact, Cache, StageFailed, is_whole
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.lease import lease
from unlearn_lab.graph.stage import Stage, distinct
from unlearn_lab.plan.changes import require_planned_code
from unlearn_lab.plan.describe import describe
from unlearn_lab.plan.request import (
    JobRequest,
    content_key,
    plan_request,
    read_values,
    unusable,
)
from unlearn_lab.record import results
from unlearn_lab.record.outcome import Outcome
from unlearn_lab.record.record_stage import labelled, read_record
from unlearn_lab.record.tuning import tune_target
from unlearn_lab.record.verdict import VerdictThresholds, judged
from unlearn_lab.report.terminal.closing import format_seconds
from unlearn_lab.report.wandb import sink as wandb_sink

_log = logging.getLogger(__name__)
_compared: set[tuple[str, str]] = set()
"""Records and watches whose preflight this process has done: a sweep first checks all jobs."""


@dataclass
class _Progress:
    """Logs each stage that is built or reused, and collects what was built."""

    goals: Sequence[Stage]
    built: dict[str, Artifact] = field(default_factory=dict[str, Artifact])
    _seen: set[str] = field(default_factory=set[str])

    def note(self, stage: Stage, artifact: Artifact | None) -> None:
        """Collects a built artifact without logging."""
        if artifact is not None and artifact.built_now:
            self.built[stage.key] = artifact

    def __call__(self, stage: Stage, artifact: Artifact | None) -> None:
        place = f"[{len(self._seen) + 1}/{len(distinct(self.goals))}] {describe(stage)}"
        if artifact is None:
            _log.info("%s ...", place)
            return
        self._seen.add(stage.key)
        if artifact.built_now:
            self.note(stage, artifact)
            _log.info("%s: %s", place, format_seconds(artifact.seconds))
        else:
            _log.debug("%s reused", place)

    def outcome(self, label: str, **result: Any) -> Outcome:
        """Returns the outcome; after a success, every stage not built counts as reused."""
        whole = result["failure"] is None
        return Outcome(
            label=label,
            built={key: artifact.stage.name for key, artifact in self.built.items()},
            reused={
                stage.key: stage.name
                for stage in distinct(self.goals).values()
                if stage.key not in self.built and (whole or stage.key in self._seen)
            },
            seconds={key: artifact.seconds for key, artifact in self.built.items()},
            **result,
        )


def request(
    config: DictConfig, choices: Mapping[str, str], content: ContentKey | None = None
) -> JobRequest:
    """Checks a composed configuration; raises `Refused` before training.

    Args:
        config: the composed configuration without `hydra`.
        choices: the selected option of each config group.
        content: digests of files outside the cache; jobs that share it look up each file and each
            hub commit once.
    """
    values = read_values(config)
    try:
        reject_secrets(values.config, "")
        require_possible(values.runtime, values.report)
        require_devices(values.runtime)
        values = replace(values, config=with_stored_weights(with_arithmetic(values.config)))
        parts = build_parts(values.config)
        if (training := parts.training) is not None:
            require_shardable(values.runtime, training.optimizer, training.trainer, training.watch)
            require_supported(values.runtime, training.optimizer)
        asked = plan_request(values, parts, choices, content or content_key(values))
        _require_tunable(values.config["tune"], asked.plan.record)
        warn_without_curve(asked)
        asked = _checked(asked, parts)
    except ValueError as error:
        raise Refused(str(error)) from error
    except StageFailed as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            raise Refused(unusable(cause, values.runtime.home)) from error
        raise Refused(str(cause)) from error
    except OSError as error:
        raise Refused(unusable(error, values.runtime.home)) from error
    return asked


def _checked(asked: JobRequest, parts: Parts) -> JobRequest:
    """Compares parts, corpus and models, once per process and not for results that exist.

    Raises as `compare_sizes` does.
    """
    record, values = asked.plan.record, asked.values
    scores = scoring_settings(values.config, asked.choices)
    checked = record.key, json.dumps(scores, sort_keys=True)
    needed = (record,) if scores is None else (record, asked.plan.unlearn)
    if checked in _compared or all(is_whole(values.cache, stage) for stage in needed):
        return asked
    from transformers.utils.logging import disable_progress_bar

    from unlearn_lab.execute.preflight import compare_sizes

    disable_progress_bar()
    warn_once(logging.getLogger("transformers"))
    checking = _Progress(())
    cache = _cache(asked, checking.note)
    with _kept([record], cache):
        compare_sizes(parts, asked.plan, cache, values.runtime)
    _compared.add(checked)
    return replace(asked, prepared=checking.built)


def _require_tunable(node: Mapping[str, Any] | None, record: Stage) -> None:
    target, measured = tune_target(node), record.inputs
    if target is not None:
        target.require_measured(
            control="retrain" in measured, quantized="unlearned.quantized" in measured
        )


def run(asked: JobRequest) -> Outcome:
    """Builds the goals and stores the record; returns the outcome, also for a failed stage.

    With `until` there is no record.
    """
    runtime = asked.values.runtime
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    wanted = distinct(asked.goals)
    prepared = {key: one for key, one in asked.prepared.items() if key in wanted}
    progress = _Progress(asked.goals, prepared)
    cache = _cache(asked, progress)
    started = time.monotonic()
    record, hint = None, ""
    try:
        with _kept(asked.goals, cache):
            artifacts = [cache.get_or_build(goal) for goal in asked.goals]
            if asked.goals == (asked.plan.record,):
                record, hint = _deliver(asked, artifacts[0], cache)
    except StageFailed as error:
        failure = f"{describe(error.stage)}: {error.__cause__}"
        _log.error("failed: %s", failure)
        _log.debug("the failure in full", exc_info=error)
        return progress.outcome(asked.label, record=None, failure=failure, hint="")
    except OSError as error:
        failure = unusable(error, asked.values.runtime.home)
        _log.error("failed: %s", failure)
        return progress.outcome(asked.label, record=None, failure=failure, hint="")
    outcome = progress.outcome(asked.label, record=record, failure=None, hint=hint)
    if record is not None:
        _tell_number(asked, record)
    _log.info(
        "%s: done in %s, %d stages built, %d reused",
        asked.label if record is not None else ", ".join(map(describe, asked.goals)),
        format_seconds(time.monotonic() - started),
        len(outcome.built),
        len(outcome.reused),
    )
    return outcome


def _tell_number(asked: JobRequest, record: Mapping[str, Any]) -> None:
    """Logs the `tune` value of the record, even without a search."""
    target = tune_target(asked.values.config["tune"])
    if target is None:
        return
    try:
        _log.info("%s: %s", asked.label, target.spell(target(record)))
    except ValueError as error:
        _log.warning("%s: %s", asked.label, error)


def _deliver(asked: JobRequest, leaf: Artifact, cache: Cache) -> tuple[Mapping[str, Any], str]:
    """Stores the record locally, then sends it; returns it with the sink's line."""
    home = Path(asked.values.runtime.home)
    record = judged(
        labelled(read_record(leaf, home), asked.values.config, asked.choices)
        | curve_entries(asked),
        VerdictThresholds(**dataclasses.asdict(asked.values.report.thresholds)),
    )
    if "export" in record:
        _log.info("%s: exported to %s", asked.label, home / str(record["export"]))
    results.append(home, record)
    sent = wandb_sink.send(
        leaf_run(asked, record), home, asked.values.report.wandb, trainings(asked, cache)
    )
    return record, sent.line


def _kept(goals: Iterable[Stage], cache: Cache) -> AbstractContextManager[None]:
    """Marks all stages of the goals as in use, so that a concurrent prune keeps them."""
    return lease(cache.root, distinct(goals), cache.timeouts)


def _cache(asked: JobRequest, progress: Any) -> Cache:
    values, runtime = asked.values, asked.values.runtime

    def build(stage: Stage, inputs: Mapping[str, Artifact], work: Path) -> Mapping[str, object]:
        require_planned_code(stage)
        builder = locate(stage.builder, stage.name)
        if not stage.builder.startswith(TRAINING):
            return builder(stage.params, inputs, work, runtime)
        shown = training_run(asked, stage)
        scores = scoring_settings(values.config, asked.choices)
        if runtime.devices > 1:
            return build_in_processes(stage, inputs, work, runtime, shown.as_plain(), scores)
        with observed(shown, scores):
            facts = builder(stage.params, inputs, work, runtime)
        gc.collect()  # reference cycles of Lightning's trainer keep model and moments
        return facts

    return Cache(root=values.cache, build=build, watch=progress, timeouts=values.timeouts)
