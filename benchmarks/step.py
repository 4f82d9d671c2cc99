"""Measures a training step: its time and peak memory, beside open-unlearning's losses if given.

    python -m benchmarks.step --shape smollm2 [--arithmetic fp32 autocast bf16] [--against FOLDER]

FOLDER is a clone of github.com/locuslab/open-unlearning, whose losses are then measured on the same
model and batch. Steps of the two codes and of all methods are taken in turn, so that a busy machine
slows all of them equally; each peak is that of a process of its own.
"""

import argparse
import copy
import functools
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.shapes import DEFAULTS, SHAPES
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.batch import pad, to_device
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.linears import trained_parameters
from unlearn_lab.unlearn.objectives.forward import ModelForward, remember_reference
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.objectives.npo import NPO
from unlearn_lab.unlearn.objectives.objective import Unlearning
from unlearn_lab.unlearn.objectives.retain import RetainKL, RetainNLL
from unlearn_lab.unlearn.optimizers.mask import kept_units
from unlearn_lab.unlearn.optimizers.saliency import choose, mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.selected import Part, SelectedOptimizer
from unlearn_lab.unlearn.optimizers.units import layouts_of
from unlearn_lab.unlearn.training.forecast import TrainingShape, peak_bytes

ARITHMETIC = {
    "fp32": (torch.float32, "fp32"),
    "autocast": (torch.float32, "bf16"),
    "bf16": (torch.bfloat16, "bf16"),
}
METHODS = ("ga", "ga_gdr", "npo_klr", "sure")
ADAMW = functools.partial(torch.optim.AdamW, lr=1e-6, weight_decay=0.01)
BETA = 0.1


def main() -> None:
    """Prints a table of times and peaks per method and arithmetic."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="17m")
    parser.add_argument("--arithmetic", choices=ARITHMETIC, nargs="+", default=["fp32"])
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=["ga_gdr", "npo_klr"])
    parser.add_argument("--against", type=Path, help="a clone of open-unlearning")
    parser.add_argument("--sequences", type=int, default=4, help="of forget and of retain")
    parser.add_argument("--length", type=int, default=256, help="tokens of a sequence")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--forecast", metavar="METHOD/ours", help="compare it with the peak")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.set_defaults(device="cpu")  # benchmarks.gpu measures on others
    asked = parser.parse_args()
    if asked.forecast:
        print(json.dumps(forecast_and_peak(asked, asked.forecast.split("/")[0])))
        return
    if asked.peak:
        method, code = asked.peak.split("/")
        print(json.dumps(peak_of_steps(asked, method, code)))
        return
    count = sum(p.numel() for p in llama(asked.shape, torch.float32).parameters())
    size = f"{asked.sequences} + {asked.sequences} x {asked.length} tokens"
    print(f"{asked.shape}: {count / 1e6:.1f} M weights, {size}, {torch.get_num_threads()} threads")
    for arithmetic in asked.arithmetic:
        measure(asked, arithmetic)


def measure(asked: argparse.Namespace, arithmetic: str) -> None:
    """Prints the median times, and the peaks, of one arithmetic."""
    codes = ["ours", *(["theirs"] if asked.against else [])]
    for method in asked.methods:
        here = codes if method != "sure" else ["ours"]
        steps = {code: make_step(asked, arithmetic, method, code) for code in here}
        seconds: dict[str, list[float]] = {code: [] for code in here}
        for place in range(asked.steps + 2):
            for code, step in steps.items():
                started = time.process_time()
                step()
                if place >= 2:
                    seconds[code].append(time.process_time() - started)
        del steps
        peaks = {code: peak(method, code, arithmetic) for code in here}
        ratio = ""
        if len(here) == 2:
            times = zip(seconds["ours"], seconds["theirs"], strict=True)
            ratio = (
                f"   ours / theirs: time {statistics.median(a / b for a, b in times):.2f}, "
                f"memory {peaks['ours'] / peaks['theirs']:.2f}"
            )
        shown = ", ".join(
            f"{code} {statistics.median(seconds[code]):.2f} s CPU {peaks[code]:.2f} GiB"
            for code in here
        )
        print(f"  {arithmetic:<9} {method:<8} {shown}{ratio}", flush=True)


def peak(method: str, code: str, arithmetic: str) -> float:
    """Peak resident memory in GiB of a process that takes three steps."""
    command = [sys.executable, "-m", "benchmarks.step", *sys.argv[1:]]
    command += ["--arithmetic", arithmetic, "--peak", f"{method}/{code}"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(ended.stdout))


def peak_of_steps(asked: argparse.Namespace, method: str, code: str) -> float:
    """Takes three steps; returns this process' peak in GiB."""
    step = make_step(asked, asked.arithmetic[0], method, code)
    for _ in range(3):
        step()
    return high_water()


def high_water() -> float:
    """Peak resident memory in GiB; ru_maxrss may be that of the process that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def forecast_and_peak(asked: argparse.Namespace, method: str) -> dict[str, float]:
    """Forecasts the peak of this process in GiB, libraries included, then measures it."""
    dtype, kind = ARITHMETIC[asked.arithmetic[0]]
    shape = TrainingShape(
        weights="bf16" if dtype == torch.bfloat16 else "fp32",
        arithmetic=kind,
        roles={"forget": False, "retain": method == "npo_klr"},
        sequences=asked.sequences,
        length=asked.length,
        choose=lambda model: None,
        optimizer=ADAMW,
        share=0.1 if method == "sure" else None,
    )
    config = LlamaConfig(**{**DEFAULTS, **SHAPES[asked.shape]})
    runtime = Runtime(accelerator="cpu", gradient_checkpointing=False)
    needed = peak_bytes(config, shape, runtime)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    forecast = (pages * resource.getpagesize() + needed) / 2**30
    return {"forecast": forecast, "peak": peak_of_steps(asked, method, "ours")}


def llama(shape: str, dtype: torch.dtype, device: str = "cpu") -> LlamaForCausalLM:
    """A Llama of the shape with random weights, made on its device."""
    torch.manual_seed(0)
    config: dict[str, Any] = {**DEFAULTS, **SHAPES[shape]}
    with torch.device(device):
        return AutoModelForCausalLM.from_config(LlamaConfig(**config), dtype=dtype)


def make_step(
    asked: argparse.Namespace, arithmetic: str, method: str, code: str
) -> Callable[[], None]:
    """Returns a function that takes a training step: loss, gradients, clipping, optimizer."""
    dtype, kind = ARITHMETIC[arithmetic]
    model = llama(asked.shape, dtype, asked.device).train()
    vocabulary = SHAPES[asked.shape]["vocab_size"]
    sequences = [torch.randint(3, vocabulary, (asked.length,)) for _ in range(2 * asked.sequences)]
    splits = {"forget": sequences[: asked.sequences], "retain": sequences[asked.sequences :]}
    if code == "theirs":
        loss = their_loss(asked.against, model, splits, method, autocast=arithmetic == "autocast")
    else:
        loss = our_loss(model, splits, method, kind)
    optimizer = (
        sure(model, loss) if method == "sure" else ADAMW(list(trained_parameters(model).values()))
    )
    return functools.partial(take, model, optimizer, loss)


def take(model: LlamaForCausalLM, optimizer: Optimizer, loss: Callable[[], Tensor]) -> None:
    """One whole training step."""
    model.zero_grad()
    optimizer.zero_grad()
    loss().backward()
    if isinstance(optimizer, SelectedOptimizer):
        optimizer.gather()
    held = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(held, 1.0)
    optimizer.step()


def our_loss(
    model: LlamaForCausalLM, splits: dict[str, list[Tensor]], method: str, kind: Any
) -> Callable[[], Tensor]:
    """The loss of this project, with the reference's outputs stored; metrics included."""
    retain = None if method == "ga" else RetainNLL(weight=1.0)
    objective = Unlearning(forget=GradientAscent(), retain=retain)
    if method == "npo_klr":
        klr = RetainKL(weight=1.0, variant="divergence")
        objective = Unlearning(forget=NPO(beta=BETA), retain=klr)
    stack = ExitStack()
    stack.enter_context(training_arithmetic(model, kind))
    splits = {role: splits[role] for role in objective.roles}
    batch = {
        role: to_device(pad(rows, range(len(rows)), 0), model.device)
        for role, rows in splits.items()
    }
    reference = remember_reference(
        model,
        splits,
        0,
        likelihood_of=objective.likelihood_of,
        distribution_of=objective.distribution_of,
        batch_size=len(splits["forget"]),
    )

    def loss() -> Tensor:
        _ = stack  # the arithmetic lasts as long as the function
        forward = ModelForward(model, reference)
        terms = objective(forward, batch)
        forward.accuracies(batch)
        return terms.total

    return loss


def their_loss(
    folder: Path,
    model: LlamaForCausalLM,
    splits: dict[str, list[Tensor]],
    method: str,
    *,
    autocast: bool,
) -> Callable[[], Tensor]:
    """GradDiff's or NPO's `compute_loss`, by the functions of `src/trainer/utils.py`."""
    found = importlib.util.spec_from_file_location("theirs", folder / "src/trainer/utils.py")
    if found is None or found.loader is None:
        raise FileNotFoundError(folder)
    theirs = importlib.util.module_from_spec(found)
    found.loader.exec_module(theirs)
    inputs = {
        role: {
            "input_ids": torch.stack(rows),
            "attention_mask": torch.ones(len(rows), len(rows[0]), dtype=torch.long),
            "labels": torch.stack(rows),
        }
        for role, rows in splits.items()
    }
    reference = copy.deepcopy(model).eval() if method == "npo_klr" else None

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            if reference is None:
                return -model(**inputs["forget"]).loss + model(**inputs["retain"]).loss
            forget, _ = theirs.compute_dpo_loss(
                model, reference, lose_inputs=inputs["forget"], beta=BETA
            )
            retain, _ = theirs.compute_kl_divergence(model, reference, inputs["retain"])
            return forget + retain

    return loss


def sure(model: LlamaForCausalLM, loss: Callable[[], Tensor]) -> SelectedOptimizer:
    """SURE at the 90th percentile, ranked by the gradient of the loss."""
    parameters: dict[str, Parameter] = {
        name: p for name, p in trained_parameters(model).items() if p.dim() == 2
    }
    layouts = layouts_of(model, parameters, "row", None)
    mask, _ = choose(unit_scores(mean_gradient(parameters, [loss()]), layouts), 90.0)
    parts = {
        name: Part(
            parameter=parameters[name],
            layout=layouts[name],
            units=kept_units(kept, model.device),
        )
        for name, kept in mask.items()
        if bool(kept.any())
    }
    return SelectedOptimizer(parts, ADAMW, rounding_seed=None)


if __name__ == "__main__":
    main()
