"""Replaces `trainer.weights=auto` by the dtype in which a given model is stored."""

from collections.abc import Mapping
from typing import Any

from unlearn_lab.config.build import Refused
from unlearn_lab.models.given import GivenModel
from unlearn_lab.models.stored import adapter_settings, stored_dtype

GIVEN = f"{GivenModel.__module__}.{GivenModel.__name__}"
"""The `_target_` of a model that was unlearned elsewhere."""


def with_stored_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with the dtype of given models chosen.

    `auto` is bf16 if the unlearned model, or the target of an adapter, is stored in bfloat16, else
    fp32, which holds every stored value exactly.
    """
    trainer, method = config["trainer"], config["method"]
    if trainer.get("weights") != "auto":
        return dict(config)
    if method.get("_target_") != GIVEN:
        raise Refused("trainer.weights=auto: needs a model that is stored, method=given")
    node, place = method, "method.path"
    try:
        if adapter_settings(node["path"], node["revision"]) is not None:
            node, place = config["model"], "model.path"
        weights = stored_dtype(node["path"], node["revision"])
    except (OSError, ValueError) as error:
        raise Refused(f"{place}={node['path']}: cannot be read ({error})") from error
    return {**config, "trainer": {**trainer, "weights": weights}}
