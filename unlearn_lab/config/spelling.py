"""Handles old and short spellings of settings: moved names are refused, short values expanded."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOVED = {"trainer.finetune": "finetune", "quant.export": "export"}
_MOVED_MODULES = {
    "foreign": "execute.external_sweeper",
    "report.tuning": "record.tuning",
    **{
        f"unlearn.{name}": f"unlearn.objectives.{name}"
        for name in ("ga", "npo", "objective", "retain")
    },
    "unlearn.released": "unlearn.optimizers.sure_released",
    "unlearn.sure": "unlearn.optimizers.sure",
    "unlearn.lora": "unlearn.training.lora",
    "unlearn.stop": "unlearn.training.stop",
    "unlearn.training": "unlearn.training.settings",
}
"""Old names of modules that a `_target_` may name, and their present names."""
_SHORT, _IN_FULL = "bf16_sr", {"weights": "bf16", "rounding": "stochastic"}
"""A short value of `trainer.weights`, and the settings of `trainer` that it stands for."""


def require_present_names(config: Mapping[str, object]) -> None:
    """Raises `ValueError` for a setting of a composed configuration that has moved."""
    for path, value in _leaves(config, ""):
        _require_present(path, f"={value}")


def require_present_command(arguments: Sequence[str]) -> None:
    """Raises `ValueError` for an override of a moved setting, whatever its prefix (+, ++, ~).

    With most of these Hydra could compose no job, and its message would not name the new setting.
    """
    for argument in arguments:
        path, equals, value = argument.lstrip("+~").partition("=")
        _require_present(path, equals + value)


def moved(message: str) -> str | None:
    """Returns the message to show if Hydra's is about an override of a moved setting, else None.

    This happens where a preset sweeps over one.
    """
    found = re.search(r"Could not override '([\w.]+)'", message)
    try:
        _require_present(found[1] if found else "", "")
    except ValueError as error:
        return str(error)
    return None


def written_out(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with `trainer.weights=bf16_sr` expanded to weights and rounding.

    It overrides `trainer.rounding`, whose default is indistinguishable from a requested value.
    """
    trainer = config["trainer"]
    if not isinstance(trainer, Mapping) or trainer.get("weights") != _SHORT:
        return dict(config)
    return {**config, "trainer": {**trainer, **_IN_FULL}}


def in_one_word(weights: str, rounding: str) -> str:
    """Returns the dtype and rounding of weights as records name them: fp32, bf16 or bf16_sr."""
    return _SHORT if {"weights": weights, "rounding": rounding} == _IN_FULL else weights


def present_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with its settings under their present names, whichever version wrote it."""
    row = {_present_key(key): value for key, value in record.items()}
    row |= {
        key: _present_target(value)
        for key, value in row.items()
        if key.endswith("._target_") and isinstance(value, str)
    }
    weights = row.get("config.trainer.weights")
    trained = row.get("config.trainer._target_") != "unlearn_lab.models.given.Holding"
    if weights is not None and trained and "config.trainer.rounding" not in row:
        full = _IN_FULL if weights == _SHORT else {"rounding": "nearest"}
        row |= {f"config.trainer.{name}": value for name, value in full.items()}
    ran = row.get("effective.arithmetic")
    if ran is not None and "config.trainer.arithmetic" not in row:
        before = row.get("config.finetune.weights", ran) if ran == "bf16" else ran
        row |= {f"config.{group}.arithmetic": ran for group in ("trainer", "eval")}
        row["config.finetune.arithmetic"] = before
    return row


def _present_key(key: str) -> str:
    for old, new in _MOVED.items():
        if f"{key}.".startswith(f"config.{old}."):
            return key.replace(old, new, 1)
    return key


def _present_target(target: str) -> str:
    """Returns the class under its present module."""
    module, _, name = target.rpartition(".")
    package, _, inner = module.partition(".")
    moved_to = _MOVED_MODULES.get(inner) if package == "unlearn_lab" else None
    return target if moved_to is None else f"{package}.{moved_to}.{name}"


def _require_present(path: str, given: str) -> None:
    if path.endswith("_target_"):
        target = given.removeprefix("=")
        if _present_target(target) != target:
            raise ValueError(f"{path}{given}: has moved; use {path}={_present_target(target)}")
    for old, new in _MOVED.items():
        if path == old or path.startswith(f"{old}."):
            present = f"{new}{path.removeprefix(old)}"
            raise ValueError(f"{path}{given}: has moved; use {present}{given}")


def _leaves(node: object, path: str) -> Iterator[tuple[str, object]]:
    if not isinstance(node, Mapping) or not node:
        yield path, node
        return
    for name, inner in node.items():
        yield from _leaves(inner, f"{path}.{name}" if path else str(name))
