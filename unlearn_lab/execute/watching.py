"""Finds what a job's training is scored on while it runs, and whether a cached one was."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_lab.config.build import Refused
from unlearn_lab.config.build import build as make
from unlearn_lab.config.once import OncePerProcess
from unlearn_lab.evaluate.watch import Watch
from unlearn_lab.graph.cache import is_whole
from unlearn_lab.plan.request import JobRequest
from unlearn_lab.unlearn.training.curve import FILE, read_curve

_log = logging.getLogger(__name__)
_log.addFilter(OncePerProcess())
PATH = "trainer.watch"
NOTE = "curve.note"
"""Key of a record: why it lacks the curve that was asked for."""


def requested_watch(config: Mapping[str, Any]) -> Watch | None:
    """Returns when and how the model is scored while it unlearns; None if it is not.

    Raises `Refused` for a metric that the evaluation does not have, and for a mistyped option.
    """
    node = config["trainer"].get("watch")
    if not isinstance(node, Mapping) or node.get("every_epochs") is None:
        return None
    if isinstance(option := node.get("quant"), str):
        raise Refused(f"{PATH}.quant={option}: an option is chosen by quant@{PATH}.quant={option}")
    watch, known = make(node, Watch, PATH), config["eval"]["metrics"]
    for name in watch.metrics or ():
        if name not in known:
            raise Refused(
                f"{PATH}.metrics: {name} is none of eval.metrics, which are {', '.join(known)}"
            )
    return watch


def scoring_settings(
    config: Mapping[str, Any], choices: Mapping[str, str]
) -> dict[str, Any] | None:
    """Returns the settings of `EpochScores` as plain values; None if the model is not scored.

    Args:
        config: the resolved configuration.
        choices: the selected option of each config group.
    """
    watch = requested_watch(config)
    if watch is None:
        return None
    settings = config["eval"]
    nodes, names = settings["metrics"], watch.names(settings["memories"], settings["utility"])
    return {
        "every_epochs": watch.every_epochs,
        "metrics": {name: nodes[name] for name in names},
        "quant": config["trainer"]["watch"]["quant"],
        "quantizer": choices.get(f"quant@{PATH}.quant", type(watch.quant).__name__),
        "weights": config["trainer"]["weights"],
        "arithmetic": settings["arithmetic"],
    }


def curve_entries(asked: JobRequest) -> dict[str, str]:
    """Returns a record's entries on the curve of its training: the file, and a note if it differs.

    The file is named relative to `runtime.home`. Empty for a training that was not scored, unless
    this was asked for.
    """
    folder, note = _folder(asked), without_curve(asked)
    place = (folder / FILE).relative_to(asked.values.runtime.home).as_posix()
    found = {} if read_curve(folder) is None else {"curve": place}
    return found if note is None else {**found, NOTE: note}


def without_curve(asked: JobRequest) -> str | None:
    """Returns why a finished training lacks the curve that is asked for; None if it does not."""
    settings, stage = scoring_settings(asked.values.config, asked.choices), asked.plan.unlearn
    if settings is None or not is_whole(asked.values.cache, stage):
        return None
    known = read_curve(_folder(asked))
    if known is not None and known.settings == settings:
        return None
    how = "without scores" if known is None else "with other settings of its scores"
    home, key = asked.values.runtime.home, stage.key[:8]
    return (
        f"{PATH}: the training {key} ran {how} and is reused as it is; to train it again: "
        f"python -m unlearn_lab.cache prune --home {home} --key {key} --yes, then the same "
        "command with until=unlearn"
    )


def warn_without_curve(asked: JobRequest) -> None:
    """Logs why a finished training lacks the curve that is asked for, once per process."""
    note = without_curve(asked)
    if note is not None:
        _log.warning("%s", note)


def _folder(asked: JobRequest) -> Path:
    stage = asked.plan.unlearn
    return asked.values.cache / stage.name / stage.key
