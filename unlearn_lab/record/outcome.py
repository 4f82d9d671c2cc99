"""How a job ended, as it is handed back by whichever process ran it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_lab.graph.cache import Artifact


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended: its label and record, or why it failed, and the stages it went through.

    A job that built stages for others has neither. `built` and `reused` map stage keys to the
    stage's name; `seconds` those that were built to their time.
    """

    label: str
    record: Mapping[str, Any] | None
    failure: str | None
    built: Mapping[str, str]
    reused: Mapping[str, str]
    seconds: Mapping[str, float]
    hint: str


def checked(prepared: Mapping[str, Artifact]) -> Outcome:
    """The outcome of checking a job, which builds what is checked against."""
    return Outcome(
        label="",
        record=None,
        failure=None,
        built={key: artifact.stage.name for key, artifact in prepared.items()},
        reused={},
        seconds={key: artifact.seconds for key, artifact in prepared.items()},
        hint="",
    )


def failed(label: str, reason: str) -> Outcome:
    """The outcome of a job that came to nothing."""
    return Outcome(
        label=label, record=None, failure=reason, built={}, reused={}, seconds={}, hint=""
    )
