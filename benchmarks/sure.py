"""Measures the cost of SURE: its step time relative to its inner optimizer's, and row ranking.

    python -m benchmarks.sure [--device cuda] [--hidden 512] [--layers 4]

The optimizers take steps in turn, on the same batch, so that a busy machine slows all of them
equally. The ranking is over a million rows.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_lab.data.batch import pad, to_device
from unlearn_lab.models.linears import choose_trainable, trained_parameters
from unlearn_lab.unlearn.objectives.forward import ModelForward
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.optimizers.mask import kept_units
from unlearn_lab.unlearn.optimizers.saliency import choose, mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.selected import Part, SelectedOptimizer
from unlearn_lab.unlearn.optimizers.units import layout, layouts_of

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-5)
NUM_STEPS, WARM_UP = 30, 5


def main() -> None:
    """Prints both measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    asked = parser.parse_args()
    measure_steps(asked)
    measure_ranking(torch.device(asked.device))


def measure_steps(asked: argparse.Namespace) -> None:
    """Forward, backward, clipping and step: SURE's time over AdamW's, by percentile."""
    torch.manual_seed(0)
    device = torch.device(asked.device)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=2048,
            hidden_size=asked.hidden,
            intermediate_size=4 * asked.hidden,
            num_hidden_layers=asked.layers,
            num_attention_heads=8,
            tie_word_embeddings=False,
        )
    ).to(device, getattr(torch, asked.dtype))
    choose_trainable(model, "block_linears")
    texts = [torch.randint(2048, (256,)) for _ in range(4)]
    tokens = to_device(pad(texts, range(4), 0), device)
    parameters = trained_parameters(model)

    def loss() -> Tensor:
        return GradientAscent()(ModelForward(model, None), tokens)

    optimizers = {"AdamW": ADAMW(parameters.values())}
    layouts = layouts_of(model, parameters, "row", None)
    scores = unit_scores(mean_gradient(parameters, [loss()]), layouts)
    for percentile in (50.0, 90.0, 99.0):
        mask, _ = choose(scores, percentile)
        parts = {
            name: Part(
                parameter=parameters[name], layout=layouts[name], units=kept_units(kept, device)
            )
            for name, kept in mask.items()
            if bool(kept.any())
        }
        optimizers[f"SURE {percentile:g}"] = SelectedOptimizer(parts, ADAMW, rounding_seed=None)
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    for place in range(NUM_STEPS + WARM_UP):
        for name, optimizer in optimizers.items():
            taken = step_seconds(optimizer, parameters, loss, device)
            if place >= WARM_UP:
                seconds[name].append(taken)
    count = sum(p.numel() for p in parameters.values())
    print(f"{count / 1e6:.1f} M trained weights, {asked.dtype}, {device}, {NUM_STEPS} steps each")
    base = seconds["AdamW"]
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
        print(f"  {name:<8} {1e3 * statistics.median(values):8.1f} ms  {ratio:.3f} of AdamW's step")


def step_seconds(
    optimizer: Optimizer,
    parameters: dict[str, Parameter],
    loss: Callable[[], Tensor],
    device: torch.device,
) -> float:
    """One whole training step."""
    finish(device)
    started = time.perf_counter()
    optimizer.zero_grad()
    for parameter in parameters.values():
        parameter.grad = None
    loss().backward()
    if isinstance(optimizer, SelectedOptimizer):
        optimizer.gather()
    held = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(held, 1.0)
    optimizer.step()
    finish(device)
    return time.perf_counter() - started


def measure_ranking(device: torch.device) -> None:
    """Scores, exact percentile and mask of a million rows, apart from the gradient."""
    gradient = {f"w{i}": torch.randn(10_000, 128, device=device) for i in range(100)}
    layouts = {name: layout(name, tuple(g.shape), "row", None) for name, g in gradient.items()}
    seconds: list[float] = []
    for _ in range(3):
        finish(device)
        started = time.perf_counter()
        mask, _ = choose(unit_scores(gradient, layouts), 90.0)
        seconds.append(time.perf_counter() - started)
    kept = sum(int(part.sum()) for part in mask.values())
    best, worst = min(seconds), max(seconds)
    print(f"ranking 1,000,000 rows of 128: {best:.2f} s (worst of 3: {worst:.2f} s), {kept} kept")


def finish(device: torch.device) -> None:
    """Waits for what a GPU still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
