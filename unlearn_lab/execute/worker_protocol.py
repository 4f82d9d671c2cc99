"""Build request for one stage as a JSON file: written by the job, read by its workers."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_lab.config.settings import Runtime
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.graph.stage import Stage

SCHEMA = 4
FACTS = "facts.json"
FAILURE = "failure.{rank}.json"


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Arguments of a builder; its facts or failures are written to the request file's folder.

    Attributes:
        stage: the stage to build.
        inputs: its input artifacts by role.
        work: folder to build in.
        runtime: settings that do not affect the result.
        trust: further packages whose classes may be instantiated.
        watch: the W&B run of the training, as plain values; None if it is not to be sent.
        scores: settings of `EpochScores`; None if the model is not scored while it trains.
    """

    stage: Stage
    inputs: Mapping[str, Artifact]
    work: Path
    runtime: Runtime
    trust: tuple[str, ...]
    watch: Mapping[str, Any] | None
    scores: Mapping[str, Any] | None


def write_request(path: Path, request: BuildRequest) -> None:
    """Writes the request.

    Its keys: `schema`; `stages`, the descriptions of the stage and its ancestors by key; `stage`,
    the key of the stage to build; `inputs`, by role, each with the key of its `stage`, `path`,
    `facts` and `seconds`; `work`, the folder to build in; `runtime` and `trust`, the settings of
    these names; `watch`, the training's W&B run, and `scores`, what scores its model, or null.
    """
    content = {
        "schema": SCHEMA,
        "stages": {stage.key: stage.description for stage in request.stage.walk()},
        "stage": request.stage.key,
        "inputs": {
            role: {
                "stage": artifact.stage.key,
                "path": str(artifact.path.absolute()),
                "facts": artifact.facts,
                "seconds": artifact.seconds,
            }
            for role, artifact in request.inputs.items()
        },
        "work": str(request.work.absolute()),
        "runtime": dataclasses.asdict(request.runtime),
        "trust": list(request.trust),
        "watch": request.watch,
        "scores": request.scores,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def read_request(path: Path) -> BuildRequest:
    """Reads a request; raises `ValueError` with one line for an invalid file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _require_schema(content)
        stages = _Stages(content["stages"])
        return BuildRequest(
            stage=stages.of(content["stage"]),
            inputs={
                role: Artifact(
                    stage=stages.of(given["stage"]),
                    path=Path(given["path"]),
                    facts=given["facts"],
                    seconds=given["seconds"],
                    built_now=False,
                )
                for role, given in content["inputs"].items()
            },
            work=Path(content["work"]),
            runtime=Runtime(**content["runtime"]),
            trust=tuple(content["trust"]),
            watch=content["watch"],
            scores=content["scores"],
        )
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: is not a valid build request ({error})") from error


def _require_schema(content: object) -> None:
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"must be an object with schema={SCHEMA}")


class _Stages:
    """Rebuilds stages from their descriptions and compares each with its key."""

    def __init__(self, descriptions: Mapping[str, Any]) -> None:
        self._descriptions = descriptions
        self._made: dict[str, Stage] = {}

    def of(self, key: str) -> Stage:
        """Returns the stage with this key; raises `ValueError` when its description has another."""
        if key not in self._made:
            described = dict(self._descriptions[key])
            inputs = {role: self.of(needed) for role, needed in described.pop("inputs").items()}
            made = Stage(**described, inputs=inputs)
            if made.key != key:
                raise ValueError(f"stage {key[:8]} was changed: its description has another key")
            self._made[key] = made
        return self._made[key]
