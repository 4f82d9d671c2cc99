"""Names what a job sends to Weights & Biases: its leaf, and the trainings that it stands on."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from unlearn_lab.execute.watching import PATH as WATCH
from unlearn_lab.graph.cache import Cache
from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.corpora import chain, fold_of
from unlearn_lab.plan.request import JobRequest
from unlearn_lab.record.leaf import CHOICES, Record
from unlearn_lab.report.swept import heading
from unlearn_lab.report.wandb.run import LeafRun
from unlearn_lab.report.wandb.training_run import TrainingRun

TRAINING = "unlearn_lab.unlearn.training.train_stage:"
"""Beginning of the builders that train."""
_UNNAMED = ("hydra", "runtime", "report", "until", "dry", "trust", "conf_dir", "grid", "cluster")
_OF_LEAVES = ("quant", "eval", "export", "generic_text")
_LONGEST = 128
"""Characters of a name that W&B shows."""


def leaf_run(asked: JobRequest, record: Record) -> LeafRun:
    """Returns the run of a job's result, named by its choices and the settings it was given."""
    words = [asked.choices[group] for group in ("method", "optimizer", "quant")]
    trained = tuple(training_run(asked, stage) for stage in _trained(asked).values())
    return LeafRun(record=record, name=_name([*words, *_settings(())]), trainings=trained)


def trainings(asked: JobRequest, cache: Cache) -> dict[str, tuple[TrainingRun, Path]]:
    """Returns the trainings of a job by role, each with the folder of its artifact."""
    return {
        role: (training_run(asked, stage), cache.folder(stage))
        for role, stage in _trained(asked).items()
    }


def training_run(asked: JobRequest, stage: Stage) -> TrainingRun:
    """Returns the run of one training, named by what tells it apart from others."""
    config, choices = asked.values.config, asked.choices
    if stage.name == "unlearn":
        words = [choices["method"], choices["optimizer"], *_settings(_OF_LEAVES)]
        fold = fold_of(stage)
        words += [] if fold is None else [f"fold {fold}"]
    else:
        words = [stage.name, choices["model"], choices["dataset"], f"seed={config['seed']}"]
    return TrainingRun(
        key=stage.key,
        name=_name([*words, stage.key[:8]]),
        group=str(config["report"]["sweep"]),
        tags=tuple(dict.fromkeys((stage.name, choices["model"], choices["dataset"]))),
        config={"stage": stage.name, "key": stage.key, **stage.params},
        home=str(asked.values.runtime.home),
        settings=asked.values.report.wandb,
    )


def _trained(asked: JobRequest) -> dict[str, Stage]:
    """Returns the stages that train, by role; of a sequence of unlearnings all, the last first."""
    inputs = asked.plan.record.inputs
    named = {role: inputs[role] for role in ("target", "retrain", "unlearn") if role in inputs}
    earlier = chain(named["unlearn"])[:-1]
    named |= {f"unlearn_{fold_of(stage)}": stage for stage in earlier}
    return {role: stage for role, stage in named.items() if stage.builder.startswith(TRAINING)}


def _settings(left_out: Iterable[str]) -> list[str]:
    """Returns the overrides of this job that are neither choices nor about where it runs.

    In a sweep only those that not all of its jobs share, and each under the shortest name.
    """
    if not HydraConfig.initialized():
        return []
    hydra = HydraConfig.get()
    fixed = frozenset[str]()
    if hydra.mode == RunMode.MULTIRUN:
        fixed = _fixed(Path(hydra.runtime.output_dir).parent)
    found = [one.lstrip("+~") for one in hydra.overrides.task if one not in fixed]
    skipped = {*_UNNAMED, *left_out}
    kept = [
        one
        for one in found
        if _path(one) not in CHOICES and _group(one) not in skipped and WATCH not in _path(one)
    ]
    paths = [f"config.{_path(one)}" for one in kept]
    return [
        heading(path, paths) + one[len(_path(one)) :] for path, one in zip(paths, kept, strict=True)
    ]


@cache
def _fixed(folder: Path) -> frozenset[str]:
    """Returns the overrides of a whole sweep, from the file that Hydra keeps of its command."""
    try:
        kept = OmegaConf.load(folder / "multirun.yaml")
        return frozenset(OmegaConf.select(kept, "hydra.overrides.task") or ())
    except (OSError, OmegaConfBaseException, YAMLError):
        return frozenset()


def _path(override: str) -> str:
    return override.partition("=")[0]


def _group(override: str) -> str:
    return re.split(r"[./]", _path(override))[0]


def _name(words: Iterable[str]) -> str:
    name = " ".join(words)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
