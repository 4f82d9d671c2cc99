"""Checks and measures everything that runs on a GPU, in one command, without a network.

    python -m benchmarks.gpu [--minutes 8] [--out gpu.json]
    python -m benchmarks.gpu --device cpu --smoke      # the same code on a processor, in small

First what the device computes is compared with the processor (`gpu_checks`), then speed and memory
are measured at the sizes of Llama 3.2 1B and Llama 2 7B, with random weights: tokens per second of
trainings and their share of the device's peak, peak memory against the forecast, evaluation, and
the seconds of each quantizer. The peak is that of a large bfloat16 product, measured. What fails is
named and the rest goes on; the exit status is 1 if anything failed. What does not fit into the
memory or the minutes is left out and named.
"""

import argparse
import functools
import gc
import json
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, PreTrainedTokenizerFast

from benchmarks.gpu_checks import LLM_INT8, ROUNDING, Bench, checks, small_model
from benchmarks.gpu_texts import byte_pairs, newspaper
from benchmarks.shapes import DEFAULTS, SHAPES
from benchmarks.step import ADAMW, high_water, llama, make_step
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.knowmem import KnowMem
from unlearn_lab.models.device import processor
from unlearn_lab.models.recompute import recomputed_blocks
from unlearn_lab.quantize.awq import AWQ
from unlearn_lab.quantize.calibration import Calibration
from unlearn_lab.quantize.gptq import GPTQ
from unlearn_lab.quantize.quantizer import CalibratedQuantizer
from unlearn_lab.unlearn.training.forecast import TrainingShape, peak_bytes

METHODS = ("ga", "npo_klr", "sure")
GIB = 2**30


class Left(Exception):
    """Raised by a measurement that does not fit into the memory or the minutes."""


class Table:
    """Runs measurements, prints a line each, and collects them."""

    def __init__(self, minutes: float) -> None:
        self.rows: list[dict[str, str]] = []
        self._end = time.monotonic() + 60 * minutes

    def run(self, name: str, measure: Callable[[], str]) -> None:
        """Prints what `measure` returns, or why it failed or was left out."""
        started = time.monotonic()
        try:
            late = started > self._end
            status, found = ("left out", "no time left") if late else ("ok", measure())
        except Left as left:
            status, found = "left out", str(left)
        except Exception as error:  # noqa: BLE001 (a failure is a row of the table)
            status, found = (
                "failed",
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.rows.append({"name": name, "status": status, "found": found})
        seconds = time.monotonic() - started
        sys.stdout.write(f"  {name:34} {status:8} {found}  [{seconds:.1f} s]\n")
        sys.stdout.flush()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def main() -> None:
    """Prints the table; writes it as JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--smoke", action="store_true", help="sizes that run in seconds")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU that torch can use; --device cpu --smoke runs the same code in small")
    named = f"{processor(device.type)}, torch {torch.__version__}"
    sys.stdout.write(f"{named}\n")
    table = Table(asked.minutes)
    corpus = newspaper()
    tokenizer = byte_pairs(corpus)
    bench = Bench(
        device=device,
        model=small_model(len(tokenizer)),
        tokenizer=tokenizer,
        texts=[text[:200] for text in corpus.forget[:8]],
        calibrated=calibrated_rules(),
    )
    for name, check in checks(bench).items():
        table.run(f"check: {name}", check)
    measure_sizes(table, device, corpus, tokenizer, smoke=asked.smoke)
    if asked.out is not None:
        body = {"device": named, "rows": table.rows}
        asked.out.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(row["status"] == "failed" for row in table.rows))


def measure_sizes(
    table: Table,
    device: torch.device,
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerFast,
    *,
    smoke: bool,
) -> None:
    """Adds speed and memory: of 1 B and 7 B weights, or in small."""
    one, seven = ("tiny", "tiny") if smoke else ("1b", "7b")
    length, side = (32, 256) if smoke else (2048, 8192)
    peak = functools.cache(lambda: product_speed(device, side))
    table.run("peak: bfloat16 product", lambda: f"{peak() / 1e12:.2f} TFLOP/s")
    for method in METHODS:
        table.run(f"step: {one}, {method}", lambda m=method: step(device, one, m, length, peak()))
    table.run(f"step: {seven}, ga", lambda: step(device, seven, "ga", length, peak()))
    for kind in ("fp32", "bf16"):
        table.run(f"memory: {one}, {kind} weights", lambda k=kind: memory(device, one, k, length))
    table.run(f"memory: {seven}, bf16 weights", lambda: memory(device, seven, "bf16", length))
    table.run(f"evaluation: {one}", lambda: evaluation(device, one, corpus, tokenizer))
    for name, rule in {**ROUNDING, "llmint8": LLM_INT8}.items():
        table.run(f"quantizer: {one}, {name}", lambda r=rule: seconds_of(device, one, r.quantize))
    for name, rule in calibrated_rules().items():
        table.run(f"quantizer: {one}, {name}", lambda r=rule: calibrate(device, one, r, tokenizer))


def calibrated_rules() -> dict[str, CalibratedQuantizer]:
    """Returns GPTQ and AWQ with the settings of conf/quant."""
    text = Calibration(source="retain", num_samples=16, length=64, seed=0, text=None)
    return {
        "gptq4": GPTQ(
            bits=4, group_size=128, symmetric=True, act_order=True, dampening=0.01, block_size=128,
            calibration=text,
        ),
        "awq4": AWQ(
            bits=4, group_size=128, symmetric=False, duo_scaling=True, num_grid=20, mappings=None,
            calibration=text,
        ),
    }  # fmt: skip


def product_speed(device: torch.device, side: int) -> float:
    """Returns FLOP/s of a square bfloat16 product, the best of ten."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / min(timed(device, lambda: a @ b) for _ in range(10))


def step(device: torch.device, shape: str, method: str, length: int, peak: float) -> str:
    """A training step of four sequences of each split in pure bfloat16, activations recomputed."""
    require_room(device, shape, method, "bf16", length)
    asked = Namespace(shape=shape, sequences=4, length=length, device=device.type)
    with stepping(device, asked, "bf16", method) as take:
        take()
        seconds = min(timed(device, take) for _ in range(3))
    splits = 1 if method == "ga" else 2
    tokens = splits * asked.sequences * length
    weights = num_weights(shape)
    # 6 N T of forward and backward pass, and 2 N T of the forward pass that recomputes
    share = 8 * weights * tokens / seconds / peak
    return f"{tokens / seconds:,.0f} tokens/s, {seconds:.2f} s, {share:.0%} of the measured peak"


def memory(device: torch.device, shape: str, kind: str, length: int) -> str:
    """Peak of GA with a retain term, against the forecast."""
    forecast = require_room(device, shape, "ga_gdr", kind, length)
    asked = Namespace(shape=shape, sequences=4, length=length, device=device.type)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    arithmetic = "bf16" if kind == "bf16" else "autocast"
    with stepping(device, asked, arithmetic, "ga_gdr") as take:
        for _ in range(2):
            take()
    if device.type != "cuda":
        return f"forecast {forecast:.2f} GiB, peak of the process {high_water():.2f} GiB"
    peak = torch.cuda.max_memory_allocated() / GIB
    return f"forecast {forecast:.2f} GiB, peak {peak:.2f} GiB, ratio {forecast / peak:.2f}"


@contextmanager
def stepping(
    device: torch.device, asked: Namespace, kind: str, method: str
) -> Iterator[Callable[[], None]]:
    """Yields a function that takes a training step, with the blocks recomputed."""
    take = make_step(asked, kind, method, "ours")
    with recomputed_blocks(take.args[0], runtime(device)):
        yield take


def runtime(device: torch.device) -> Runtime:
    """Returns the settings that activations are recomputed by."""
    return Runtime(accelerator=device.type, gradient_checkpointing=True)


def require_room(device: torch.device, shape: str, method: str, kind: str, length: int) -> float:
    """Returns the forecast of a training step in GiB; raises `Left` if the device has less."""
    roles = {"forget": False, "retain": method == "npo_klr"}
    planned = TrainingShape(
        weights=kind,
        arithmetic="bf16",
        roles={"forget": False} if method == "ga" else roles,
        sequences=4,
        length=length,
        choose=lambda model: None,
        optimizer=ADAMW,
        share=0.1 if method == "sure" else None,
    )
    config = LlamaConfig(**{**DEFAULTS, **SHAPES[shape]})
    needed = peak_bytes(config, planned, runtime(device)) / GIB
    if device.type == "cuda":
        there = torch.cuda.mem_get_info()[1] / GIB
        if needed > 0.95 * there:
            raise Left(f"needs {needed:.0f} GiB, the device has {there:.0f}")
    return needed


def evaluation(
    device: torch.device, shape: str, corpus: Corpus, tokenizer: PreTrainedTokenizerFast
) -> str:
    """Questions of KnowMem with three examples and 32 new tokens."""
    model = llama(shape, torch.bfloat16, device.type).eval()
    metrics = [
        KnowMem(split=split, num_tokens=32, answer_cue="Answer:") for split in ("forget", "retain")
    ]
    requests = [request for metric in metrics for request in metric.requests(corpus)]
    run = functools.partial(answer, model, tokenizer, requests, batch_tokens=16384)
    run()
    seconds = timed(device, run)
    return f"{len(requests) / seconds:.1f} questions/s ({len(requests)} in {seconds:.1f} s)"


def seconds_of(device: torch.device, shape: str, quantize: Callable[[Any], object]) -> str:
    """Rounding of a model on the device."""
    model = llama(shape, torch.bfloat16, device.type)
    return f"{timed(device, lambda: quantize(model)):.2f} s"


def calibrate(
    device: torch.device,
    shape: str,
    rule: CalibratedQuantizer,
    tokenizer: PreTrainedTokenizerFast,
) -> str:
    """Calibration of a model that is given on the processor."""
    ids = torch.randint(3, 512, (16, 64))
    with tempfile.TemporaryDirectory() as folder:
        model = llama(shape, torch.bfloat16)
        run = functools.partial(rule.compress, model, tokenizer, ids, Path(folder), device)
        return f"{timed(device, run):.1f} s with {ids.numel()} tokens"


def num_weights(shape: str) -> int:
    """Returns the number of weights that a token is multiplied by."""
    config = LlamaConfig(**{**DEFAULTS, **SHAPES[shape]})
    model = llama(shape, torch.bfloat16, "meta")
    embedding = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return sum(p.numel() for p in model.parameters()) - embedding


def timed(device: torch.device, run: Callable[[], object]) -> float:
    """Returns wall seconds, with all work of the device done."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
