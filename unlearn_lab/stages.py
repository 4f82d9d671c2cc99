"""The versions of the stages, and how one is put together from plain configuration."""

from collections.abc import Mapping
from typing import Any

from unlearn_lab.graph.stage import Stage

Config = Mapping[str, Any]

VERSIONS = {
    "corpus": 1,
    "base": 1,
    "target": 1,
    "retrain": 1,
    "saliency": 1,
    "unlearn": 2,
    "calibration": 1,
    "quantize": 2,
    "export": 1,
    "evaluate": 3,
    "codes": 3,
    "widths": 2,
    "record": 5,
}
"""Raised whenever a stage's builder changes its meaning: no old artifact is taken for a new one."""


def stage(
    name: str, builder: str, params: Config, inputs: Mapping[str, Stage] | None = None
) -> Stage:
    """A stage of its present version; `builder` is "package.module:function"."""
    return Stage(
        name=name, builder=builder, version=VERSIONS[name], params=params, inputs=inputs or {}
    )
