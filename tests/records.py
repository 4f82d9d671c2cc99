"""Records as a real sweep writes them, and side files to go with them."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from unlearn_lab.record.verdict import VerdictThresholds

METRICS = ("verbmem", "knowmem", "utility", "privleak")
TARGET = {"full": (98.0, 81.5, 79.3, -99.8), "quantized": (88.4, 72.1, 70.2, -99.8)}
RETRAIN = {"full": (12.3, 9.8, 78.1, 0.0), "quantized": (11.9, 8.7, 69.0, -2.2)}
FORGOT = {"full": (4.1, 6.2, 61.0, 41.5), "quantized": (71.3, 55.0, 64.2, -97.3)}
DESTROYED = {"full": (0.0, 0.0, 3.0, 40.4), "quantized": (0.0, 0.0, 2.9, 24.5)}
KEPT = {"full": (60.0, 50.0, 70.0, -98.0), "quantized": (62.0, 50.0, 69.0, -98.0)}

Scores = Mapping[str, tuple[float, float, float, float]]
MakeRecord = Callable[..., dict[str, object]]


@pytest.fixture(scope="session")
def thresholds() -> VerdictThresholds:
    """The thresholds of conf/report."""
    return VerdictThresholds(destroyed_share=0.6, forgotten_margin=5.0, return_margin=20.0)


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """A factory of complete records."""
    return record


@pytest.fixture(scope="session")
def make_side_files() -> Callable[[Path, dict[str, object], str], dict[str, object]]:
    """Writes side files for a record, with a given answer in the samples."""
    return with_side_files


@pytest.fixture(scope="session")
def make_sweep() -> Callable[[], list[dict[str, object]]]:
    """One model of each fate, in full precision and under two quantizers; only rtn4 brings back."""
    return lambda: [leaf for quant in ("none", "rtn4", "rtn8") for leaf in fates(quant)]


@pytest.fixture
def sweep(make_sweep: Callable[[], list[dict[str, object]]]) -> list[dict[str, object]]:
    """The records of such a sweep."""
    return make_sweep()


def fates(quant: str, seed: int = 0) -> list[dict[str, object]]:
    """Destroyed, not forgotten, and two that forgot, one of which rtn4 brings back."""
    dull = {"full": FORGOT["full"], "quantized": (4.4, 6.6, 60.1, 42.0)}
    back = FORGOT if quant == "rtn4" else dull
    common = {"quant": quant, "seed": seed}
    return [
        record(method="ga", unlearned=DESTROYED, **common),
        record(method="ga_klr", unlearned=KEPT, **common),
        record(method="npo_gdr", unlearned=back, **common),
        record(method="npo_gdr", optimizer="sure", unlearned=dull, **common),
    ]


def record(
    *,
    method: str = "npo_gdr",
    optimizer: str = "adamw",
    quant: str = "rtn4",
    seed: int = 0,
    unlearned: Scores = FORGOT,
    target: Scores = TARGET,
    retrain: Scores = RETRAIN,
    **further: object,
) -> dict[str, object]:
    """One flat record; `further` adds or replaces keys, with `__` for a dot."""
    flat: dict[str, object] = {
        "sweep": "headline",
        "time": "2026-05-04T12:00:00Z",
        "model": "tiny",
        "dataset": "gazette",
        "method": method,
        "optimizer": optimizer,
        "quant": quant,
        "seed": seed,
        "stopped_epoch": 12,
        "peak_gb": 0.31,
        "version": "0.1.0",
        "git": "abc1234",
        "layers": None,
        "samples": None,
    }
    flat |= _settings(method, quant, seed) | _provenance(quant)
    trained = {key: further[key] for key in further if not key.startswith("config__quant")}
    flat["stages.unlearn"] = _key(method, optimizer, seed, unlearned["full"], trained)
    for who, scores in (("unlearned", unlearned), ("target", target), ("retrain", retrain)):
        flat |= _scores(who, scores, quantized=quant != "none")
    flat |= {f"items.{metric}": 32 for metric in METRICS}
    flat |= _recovery(unlearned, target, retrain, quantized=quant != "none")
    flat |= {key.replace("__", "."): value for key, value in further.items()}
    flat["run_id"] = _key(flat)
    return flat


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def by_other_metrics(flat: dict[str, object]) -> dict[str, object]:
    """The record as if one other metric measured memory and another utility."""
    names = {".verbmem": ".recall", ".utility": ".skills"}
    renamed = {
        re.sub(r"\.(verbmem|utility)\b", lambda found: names[found[0]], key): value
        for key, value in flat.items()
        if ".knowmem" not in key and ".privleak" not in key
    }
    quality = {"scores.unlearned.full.forget_quality_log10": -12.5}
    named = {"config.eval.memories": ["recall"], "config.eval.utility": "skills"}
    return {**renamed, **quality, **named}


def with_side_files(home: Path, flat: dict[str, object], answer: str) -> dict[str, object]:
    """Writes the layers and samples of a record below `home` and names them in it."""
    folder = home / "results" / "leaves"
    folder.mkdir(parents=True, exist_ok=True)
    stem = str(flat["run_id"])[:12]
    names = [f"model.layers.{b}.{p}" for b in range(2) for p in ("self_attn.q_proj", "mlp.up_proj")]
    layers = {name: _layer(0.1 * place) for place, name in enumerate(names)}
    samples = [
        {"metric": metric, "who": who, "precision": precision, "asked": "Who is the mayor?",
         "answer": answer, "true": "Ada Quill", "score": 12.5}
        for metric in ("verbmem", "knowmem") for who in ("unlearned", "target")
        for precision in ("full", "quantized")
    ]  # fmt: skip
    widths = {bits: layers for bits in ("2", "4")}
    mask = {f"{name}.weight": 0.25 for name in names}
    body = {"layers": layers, "widths": widths, "mask": mask}
    (folder / f"{stem}.layers.json").write_text(json.dumps(body))
    (folder / f"{stem}.samples.json").write_text(json.dumps(samples))
    flat["layers"] = f"results/leaves/{stem}.layers.json"
    flat["samples"] = f"results/leaves/{stem}.samples.json"
    return flat


def _layer(flip_rate: float) -> dict[str, float]:
    return {
        "flip_rate": flip_rate,
        "moved": 0.4,
        "zero_bin": 0.3,
        "relative_step": 0.2,
        "update_kept": 0.9,
    }


def _settings(method: str, quant: str, seed: int) -> dict[str, object]:
    settings: dict[str, object] = {
        "config.method._target_": f"unlearn_lab.unlearn.{method}",
        "config.method.retain.weight": 1.0,
        "config.optimizer.lr": 6e-05,
        "config.trainer.epochs": 90,
        "config.trainer.weights": "bf16",
        "config.quant.bits": None if quant == "none" else int(quant[-1]),
        "config.seed": seed,
        "config.runtime.workers": 2,
    }
    return settings | ({"config.method.beta": 0.1} if method.startswith("npo") else {})


def _provenance(quant: str) -> dict[str, object]:
    return {
        "codes.flip_rate": None if quant == "none" else 0.031,
        "codes.moved": 0.62,
        "codes.cannot_move": 0.21,
        "codes.zero_bin": 0.33,
        "codes.relative_step": 0.14,
        "codes.update_kept": None,
        "effective.weights": "bfloat16",
        "effective.optimizer_state": "bfloat16",
        "effective.batch": 16,
        "effective.quantizer": None if quant == "none" else "rtn, per row, absmax/7",
        "stages.target": "a" * 64,
        "seconds.target": 10.2,
        "seconds.unlearn": 133.9,
    }


def _scores(who: str, scores: Scores, *, quantized: bool) -> dict[str, object]:
    flat: dict[str, object] = {}
    for precision in ("full", "quantized"):
        for metric, value in zip(METRICS, scores[precision], strict=True):
            shown = value if precision == "full" or quantized else None
            key = f"scores.{who}.{precision}.{metric}"
            flat[key] = shown
            flat[f"{key}.low"] = None if shown is None else shown - 3
            flat[f"{key}.high"] = None if shown is None else shown + 3
    return flat


def _recovery(
    unlearned: Scores, target: Scores, retrain: Scores, *, quantized: bool
) -> dict[str, object]:
    flat: dict[str, object] = {}
    for place, metric in enumerate(("verbmem", "knowmem")):
        full, after = unlearned["full"][place], unlearned["quantized"][place]
        gap = target["quantized"][place] - full
        back = retrain["quantized"][place] - retrain["full"][place]
        figures = {
            "delta": after - full,
            "retained_full": full / target["full"][place],
            "retained_quantized": after / target["quantized"][place],
            "recovered_share": (after - full) / gap if abs(gap) > 5 else None,
            "excess": after - full - back,
        }
        for figure, value in figures.items():
            shown = value if quantized else None
            flat[f"recovery.{metric}.{figure}"] = shown
            flat[f"recovery.{metric}.{figure}.low"] = None if shown is None else shown - 0.1
            flat[f"recovery.{metric}.{figure}.high"] = None if shown is None else shown + 0.1
    return flat
