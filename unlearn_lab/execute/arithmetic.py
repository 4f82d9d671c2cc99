"""Replaces `arithmetic=auto` by what the device of a job computes in, before the job is planned."""

from collections.abc import Mapping
from typing import Any, get_args

from unlearn_lab.config.build import Refused
from unlearn_lab.models.arithmetic import Arithmetic
from unlearn_lab.models.device import computes_in_bfloat16, device_of

_NODES = ("trainer", "finetune", "eval")
_KINDS = get_args(Arithmetic)


def with_arithmetic(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with the arithmetic of trainings and evaluations chosen.

    `auto` is `runtime.auto_arithmetic`, or where that is null: bf16 on a device that computes in
    bfloat16, else fp32. Raises `Refused` for an unknown value, and for bf16 on a device that only
    emulates it; not if `runtime.auto_arithmetic` is set, which says that jobs run elsewhere.
    """
    runtime = config["runtime"]
    elsewhere = runtime["auto_arithmetic"]
    if elsewhere not in (None, *_KINDS):
        allowed = ", ".join((*_KINDS, "null"))
        raise Refused(f"runtime.auto_arithmetic={elsewhere}: must be one of {allowed}")
    native = computes_in_bfloat16(device_of(runtime["accelerator"]))
    auto = elsewhere or ("bf16" if native else "fp32")
    chosen = dict(config)
    for name in _NODES:
        node = config[name]
        if not isinstance(node, Mapping) or "arithmetic" not in node:
            continue  # what else is wrong with the node is found when it is built
        asked: object = node["arithmetic"]
        if asked not in (*_KINDS, "auto"):
            allowed = ", ".join((*_KINDS, "auto"))
            raise Refused(f"{name}.arithmetic={asked}: must be one of {allowed}")
        if asked == "bf16" and elsewhere is None and not native:
            raise Refused(
                f"{name}.arithmetic=bf16: this device only emulates bfloat16; use fp32 or auto"
            )
        chosen[name] = {**node, "arithmetic": auto if asked == "auto" else asked}
    return chosen
