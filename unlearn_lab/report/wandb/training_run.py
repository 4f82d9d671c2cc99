"""Defines the run of a training, and keeps what has been sent of it."""

import dataclasses
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_lab.config.settings import Wandb
from unlearn_lab.report.wandb.client import ID_LENGTH
from unlearn_lab.report.wandb.mode import server


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The run of one training; plain values, so that a worker process can be given them.

    Attributes:
        key: the stage's key; its first digits are the run's id.
        name: display name.
        group: name of the sweep that trains it.
        tags: tags.
        config: the stage's parameters.
        home: the sweep's `runtime.home`.
        settings: `report.wandb`.
    """

    key: str
    name: str
    group: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    home: str
    settings: Wandb

    def as_plain(self) -> dict[str, Any]:
        """Returns the run as JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "TrainingRun":
        """Returns the run that `as_plain` has written."""
        tags, settings = tuple(values["tags"]), Wandb(**values["settings"])
        return cls(**{**values, "tags": tags, "settings": settings})

    @property
    def id(self) -> str:
        """Id of the W&B run."""
        return self.key[:ID_LENGTH]

    @property
    def state_path(self) -> Path:
        """File that says what has been sent."""
        return Path(self.home) / "wandb" / "trainings" / f"{self.id}.json"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What has been sent of a training.

    Attributes:
        place: where: the server, entity and project, or the folder of offline runs.
        last: its last step; -1 if there is none.
        scored: the last epoch after which it was scored; -1 if there is none.
        complete: whether the training had ended.
        url: the run's address; empty offline.
    """

    place: str
    last: int
    complete: bool
    url: str
    scored: int = -1


def place_of(training: TrainingRun, *, offline: bool) -> str:
    """Returns where the run of a training is sent to."""
    settings = training.settings
    if offline:
        return str((Path(training.home) / "wandb").absolute())
    return f"{server()}/{settings.entity or ''}/{settings.project}"


def read_sent(training: TrainingRun) -> Sent | None:
    """Returns what has been sent of a training; None if nothing has."""
    try:
        return Sent(**json.loads(training.state_path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_sent(training: TrainingRun, sent: Sent) -> None:
    """Stores what has been sent, atomically."""
    path = training.state_path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_text(json.dumps(vars(sent)), encoding="utf-8")
    os.replace(draft, path)
