"""Outcome of a job, as returned by the process that ran it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_lab.graph.cache import Artifact


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended: its record or failure, and the stages that it built and reused.

    Attributes:
        label: the job's choices, in words.
        record: the result; None for a failed job and for one that only built shared stages.
        failure: why the job failed; None for a success.
        built: stage names of the built artifacts, by key.
        reused: stage names of the reused artifacts, by key.
        seconds: build time of each built artifact, by key.
        hint: how the record reached Weights & Biases, in one line; may be empty.
    """

    label: str
    record: Mapping[str, Any] | None
    failure: str | None
    built: Mapping[str, str]
    reused: Mapping[str, str]
    seconds: Mapping[str, float]
    hint: str


def checked(prepared: Mapping[str, Artifact]) -> Outcome:
    """Returns the outcome of a preflight, which builds the stages that it compares with."""
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
    """Returns the outcome of a failed job that reports no stages."""
    return Outcome(
        label=label, record=None, failure=reason, built={}, reused={}, seconds={}, hint=""
    )
