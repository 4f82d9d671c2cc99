"""Builds the record: every score, the recovery and what really ran, as one flat row."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from unlearn_lab import __version__
from unlearn_lab.config.settings import Runtime
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.stored_scores import read_code_changes, read_scores, read_widths
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.plan.corpora import chain, fold_of
from unlearn_lab.record.score_figures import score_figures
from unlearn_lab.unlearn.optimizers.mask import read_mask

FILE, SAMPLES, LAYERS = "record.json", "samples.json", "layers.json"
_NUM_SAMPLES = 8

Row = dict[str, Any]


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact: `record.json`, with sample answers and per-layer figures in side files.

    Args:
        params: `memories`, `auc_retrain`, and `recovery` with its two smallest values.
        inputs: the evaluations (`unlearned.full`, ...), and the stages behind them, by role.
        work: folder to write to.
        runtime: unused; part of the builder signature.

    Returns:
        No facts: everything is in the files.
    """
    scores = {name: read_scores(artifact) for name, artifact in inputs.items() if "." in name}
    figures = read_code_changes(inputs["codes"])
    widths = read_widths(inputs["widths"])
    row: Row = score_figures(
        scores,
        memories=params["memories"],
        auc_retrain=params["auc_retrain"],
        smallest_denominator=float(params["recovery"]["smallest_denominator"]),
        smallest_kept=float(params["recovery"]["smallest_kept"]),
    )
    skipped = cast("Mapping[str, str]", inputs["unlearned.full"].facts["skipped"])
    row |= {f"skipped.{metric}": reason for metric, reason in skipped.items()}
    remarks = cast("Mapping[str, str]", inputs["unlearned.full"].facts["remarks"])
    row |= {f"corpus.{about}": remark for about, remark in remarks.items()}
    row |= {
        f"codes.{name}": value
        for name, value in figures["overall"].items()
        if name != "num_weights"
    }
    row |= {f"effective.{name}": value for name, value in widths["parameters"].items()}
    for part in ("mask", "adapter"):
        row |= {f"{part}.{name}": value for name, value in _summary(inputs["unlearn"], part)}
    row |= _what_ran(inputs)
    (work / FILE).write_text(json.dumps(row), encoding="utf-8")
    _write_side_files(work, inputs, scores)
    return {}


def _write_side_files(
    work: Path, inputs: Mapping[str, Artifact], scores: Mapping[str, Mapping[str, Score]]
) -> None:
    """Writes what is too long for a row: per-layer figures and sample answers."""
    errors = _quantizer(inputs)["weight_error"]
    mask = read_mask(inputs["unlearn"].path)
    figures = read_code_changes(inputs["codes"])["layers"]
    layers = {
        "layers": {
            name: {**layer, "weight_error": errors.get(name)} for name, layer in figures.items()
        },
        "widths": read_widths(inputs["widths"])["widths"],
        "mask": {name: kept.float().mean().item() for name, kept in mask.items()},
    }
    (work / LAYERS).write_text(json.dumps(layers), encoding="utf-8")
    (work / SAMPLES).write_text(
        json.dumps(list(_samples(scores)), ensure_ascii=False), encoding="utf-8"
    )


def read_record(artifact: Artifact, home: Path) -> Row:
    """Returns a finished leaf's record: its id, figures, and side files relative to `home`."""
    row: Row = json.loads((artifact.path / FILE).read_text(encoding="utf-8"))
    folder = artifact.path.relative_to(home).as_posix()
    return {
        "run_id": artifact.stage.key,
        **row,
        "layers": f"{folder}/{LAYERS}",
        "samples": f"{folder}/{SAMPLES}",
    }


_NO_SETTINGS = ("until", "dry", "trust", "conf_dir")
"""Settings of how far a command runs and what it may load; they do not affect results."""


def labelled(row: Row, config: Mapping[str, Any], choices: Mapping[str, str]) -> Row:
    """Returns the record with its choices, every setting that something ran with, and its origin.

    The origin is the time (UTC), the package's version and, in a clone, the git commit.

    Args:
        row: the record as `read_record` returns it.
        config: the resolved configuration as plain values.
        choices: the selected option of each config group.
    """
    left_out = (
        _NO_SETTINGS if config["model"].get("finetune", True) else (*_NO_SETTINGS, "finetune")
    )
    names = {
        group: choices[group] for group in ("model", "dataset", "method", "optimizer", "quant")
    }
    return {
        "run_id": row["run_id"],
        "sweep": config["report"]["sweep"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **names,
        "seed": config["seed"],
        **dict(_flat({k: v for k, v in config.items() if k not in left_out}, "config")),
        **row,
        **_export_folder(row, config["export"]),
        "version": __version__,
        "git": _git_commit(),
    }


def _export_folder(row: Row, export: bool | str) -> Row:
    """Returns the exported model's folder relative to the home; empty without an export."""
    stage = "export" if "stages.export" in row else "quantize"
    return {"export": f"cache/{stage}/{row[f'stages.{stage}']}"} if export else {}


def _summary(unlearn: Artifact, part: str) -> Iterator[tuple[str, object]]:
    """Yields the figures of the mask or the adapters; nothing for an unlearning without them."""
    found = unlearn.facts.get(part)
    if isinstance(found, Mapping):
        yield from found.items()


def _what_ran(inputs: Mapping[str, Artifact]) -> Row:
    """Returns effective settings, stage keys, seconds and memory."""
    unlearn, quantizer = inputs["unlearn"], _quantizer(inputs)
    return {
        "stopped_epoch": unlearn.facts["epochs"],
        "stopped_because": unlearn.facts["stopped"],
        "effective.weights": unlearn.facts["weights"],
        "effective.arithmetic": unlearn.facts["arithmetic"],
        "effective.processor": unlearn.facts.get("processor"),
        "effective.devices": unlearn.facts.get("devices"),
        "effective.strategy": unlearn.facts.get("strategy"),
        "effective.optimizer": unlearn.facts["optimizer"],
        "effective.optimizer_state": unlearn.facts["optimizer_state"],
        **{
            f"effective.{k}": unlearn.facts[k]
            for k in ("adapter_weights", "template")
            if k in unlearn.facts
        },
        "effective.batch": unlearn.facts["batch"],
        "effective.quantizer": _spell(quantizer),
        "effective.quantized_layers": quantizer["num_layers"],
        **{f"quantizer.{name}": value for name, value in _quantizer_figures(inputs)},
        "peak_gb": unlearn.facts["peak_gb"],
        **_folds(unlearn),
        **{f"stages.{name}": artifact.stage.key for name, artifact in inputs.items()},
        **{f"seconds.{name}": round(artifact.seconds, 2) for name, artifact in inputs.items()},
    }


def _folds(unlearn: Artifact) -> Row:
    """Returns the order of sequential unlearning in words, and the keys of all but the last."""
    steps = chain(unlearn.stage)
    if fold_of(unlearn.stage) is None:
        return {}
    kind = unlearn.stage.inputs["corpus"].params["dataset"]["folds"]
    way = ["target", *(f"fold {fold_of(step)}" for step in steps)]
    keys = {f"stages.unlearn_{fold_of(step)}": step.key for step in steps[:-1]}
    return {"effective.folds": f"{kind}: {' → '.join(way)}", **keys}


def _quantizer(inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    """Returns the unlearned model's quantizer report, as the evaluate stage stored it."""
    last = inputs.get("unlearned.quantized", inputs["unlearned.full"])
    return cast("Mapping[str, Any]", last.facts["quantizer"])


def _spell(report: Mapping[str, Any]) -> str:
    """Describes the quantizer in one line: kernel, bits, convention and group."""
    parts = (
        f"{report['bits']} bits" if report["bits"] else None,
        report["convention"],
        f"per {report['group']}" if report["group"] else None,
    )
    details = ", ".join(part for part in parts if part)
    return f"{report['kernel']}: {details}" if details else str(report["kernel"])


def _quantizer_figures(inputs: Mapping[str, Artifact]) -> Iterator[tuple[str, object]]:
    """Yields quantizer settings, weight and logit errors, and cost; nothing in full precision."""
    if "unlearned.quantized" not in inputs:
        return
    report = _quantizer(inputs)
    for name in ("library", "bits", "group", "symmetric", "convention"):
        yield name, report[name]
    errors = list(report["weight_error"].values())
    yield "weight_error", sum(errors) / len(errors) if errors else None
    evaluation = inputs["unlearned.quantized"]
    yield "logit_error", evaluation.facts["logit_error"]
    kept = inputs.get("quantize", evaluation)
    yield "seconds", kept.facts.get("quantize_seconds", kept.seconds)
    yield "peak_gb", kept.facts.get("peak_gb")
    if "bytes" in kept.facts:
        yield "bytes", kept.facts["bytes"]


def _samples(scores: Mapping[str, Mapping[str, Score]]) -> Iterator[Row]:
    """Yields those of each metric's first items that have text answers, by model and precision."""
    for name, found in scores.items():
        who, precision = name.split(".")
        for metric, score in found.items():
            for item in score.items[:_NUM_SAMPLES]:
                if "answer" in item:
                    asked = item.get("question", item.get("prompt"))
                    yield {
                        "metric": metric,
                        "who": who,
                        "precision": precision,
                        "asked": asked,
                        "answer": item["answer"],
                        "true": item.get("true"),
                        "score": item["score"],
                    }


def _flat(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}")
    else:
        yield path, value


@lru_cache
def _git_commit() -> str | None:
    """Returns the commit of the clone that this package runs from; None if installed."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
