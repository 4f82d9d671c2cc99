"""Decides what lies outside the cache and enters an evaluation's key: data sets and libraries."""

from typing import Any

from unlearn_lab.graph.content import ContentKey
from unlearn_lab.libraries import require
from unlearn_lab.stages import Config

_HARNESS = "unlearn_lab.evaluate.harness.HarnessTask"


def pinned_metrics(metrics: Config, content: ContentKey) -> dict[str, Any]:
    """The parameters that say what is measured.

    `metrics` with the data sets of lm-eval's tasks pinned to their present commits; where there are
    any, also the digests of local copies, by metric, and lm-eval's version. Raises `ValueError`
    when such a data set or the library is missing.
    """
    nodes, digests = dict(metrics), dict[str, str | None]()
    for name, node in metrics.items():
        if node.get("_target_") == _HARNESS:
            setting = f"eval.metrics.{name}.data"
            pin = content.of_dataset(node["data"], node["revision"], setting)
            nodes[name] = {**node, "data": pin.path, "revision": pin.revision}
            digests[name] = pin.digest
    if not digests:
        return {"metrics": nodes}
    try:
        return {"metrics": nodes, "data": digests, "harness": require("lm-eval")}
    except ValueError as error:
        raise ValueError(f"eval.metrics.{next(iter(digests))}: {error}") from error
