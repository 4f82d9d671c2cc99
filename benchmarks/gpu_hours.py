"""What a sweep of a 7B Llama would cost on one 80 GB GPU: hours, memory and disk, calculated.

    python -m benchmarks.gpu_hours

An estimate from the figures below and nothing else: no model is loaded, no GPU is asked. Every row
stands alone, though sweeps share what is cached. Left out: downloads, explanations of the weights
(`codes`, `widths`: on the CPU), and that LLM.int8() decodes more slowly than 16-bit weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

HOUR, MINUTE, GB = 3600.0, 60.0, 1e9
NEWS_FOLDS = (0.83e6, 1.67e6, 2.51e6, 3.36e6)
"""Tokens of the cumulative forget folds of MUSE-News. The first is 102 steps of 4 x 2048 tokens in
the reference scripts; 3.9 bytes a token give the others from the dataset card's 3.28, 6.55, 9.87
and 13.22 MB (MUSE, arXiv 2407.06460, rounds to 0.8 and 3.3 M)."""
NEWS_RETAIN = 1.64e6
"""retain1: 6.46 MB."""
BOOKS_FORGET, BOOKS_RETAIN = 1.1e6, 0.22e6
"""MUSE's 1.1 M tokens are 4.10 MB; retain1, which is trained on, is 0.84 MB (the paper's 0.5 M fits
retain2, which is asked about)."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A sweep: each method with each optimizer and setting of it, once for each forget set."""

    forget_tokens: Sequence[float]
    """Of each forget set, so of each corpus; controls are evaluated on every one of them."""
    retain_tokens: float
    epochs: int
    recompute: bool
    """Gradient checkpointing: the forward pass runs again instead of keeping activations."""
    methods: str
    optimizers: str
    num_settings: int
    """Learning rates or percentiles tried with each optimizer."""
    quantizers: str


ALL_METHODS = "ga ga_gdr ga_klr npo npo_gdr npo_klr"
WITH_RETAIN = "ga_gdr ga_klr npo_gdr npo_klr"

NEWS = Preset(
    forget_tokens=NEWS_FOLDS[:1],
    retain_tokens=NEWS_RETAIN,
    epochs=10,
    recompute=True,
    methods=ALL_METHODS,
    optimizers="adamw",
    num_settings=1,
    quantizers="llmint8 fp4",
)
BOOKS = replace(NEWS, forget_tokens=[BOOKS_FORGET], retain_tokens=BOOKS_RETAIN, epochs=5)
PRESETS = {
    "paper_news": NEWS,
    "paper_books": BOOKS,
    "paper_quantizers": replace(NEWS, methods=WITH_RETAIN, quantizers="rtn4 fp4 gptq4 awq4"),
    "paper_sure": replace(BOOKS, methods=WITH_RETAIN, optimizers="adamw sure", quantizers="fp4"),
    "paper_threshold": replace(
        BOOKS, methods="ga_gdr npo_klr", optimizers="sure", num_settings=4, quantizers="fp4"
    ),
    "paper_lr": replace(NEWS, methods="npo_gdr npo_klr", num_settings=4, quantizers="fp4"),
    "muse_scalability": replace(NEWS, forget_tokens=NEWS_FOLDS, quantizers="fp4"),
    "muse_sustainability": replace(NEWS, forget_tokens=NEWS_FOLDS[:1] * 4, quantizers="fp4"),
}

QUANTIZING = {
    **dict.fromkeys(("rtn4", "fp4", "nf4", "int8", "llmint8"), 1 * MINUTE),
    **dict.fromkeys(("gptq4", "awq4"), 30 * MINUTE),
}
"""Seconds a model. llm-compressor's documentation (guides/runtime, 0.11) has 1 minute for rounding
and 30 for GPTQ and for AWQ, Llama-3-8B on an A100; AutoAWQ's README has 10-15 for 7B."""
CALIBRATED = ("gptq4", "awq4")
"""Kept on disk, once for each model; the others are rounded on load."""
KEPT_BYTES = 0.58
"""A weight of 4 bits, with a scale of 16 bits and a zero point of 4 for 128: 4.2 bits;
embeddings and head, 4 % of the model, in 16."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A GPU and its disk; rates a second."""

    peak_flops: float
    utilisation: float
    """Share of the peak that training and scoring reach; attention and optimizer are in it."""
    bandwidth: float
    """Bytes that decoding reads from the GPU's memory."""
    least_step: float
    """Seconds that a decoding step takes however little there is to read."""
    disk_bytes: float


@dataclass(frozen=True, kw_only=True)
class Model:
    """A Llama in bfloat16."""

    num_parameters: float
    num_layers: int
    hidden_size: int

    @property
    def num_bytes(self) -> float:
        """Of the weights."""
        return 2 * self.num_parameters


A100 = Machine(
    peak_flops=312e12,
    utilisation=0.4,
    bandwidth=0.6 * 2e12,
    least_step=1 / 18.87,  # AutoGPTQ's README: tokens a second, llama-7b, float16, batch 1
    disk_bytes=1 * GB,
)
RESUMING = 2 * 3
"""Models' worth on disk while one is trained: weights and two moments, to resume from and as they
are written anew."""
LLAMA_7B = Model(num_parameters=6.74e9, num_layers=32, hidden_size=4096)
BATCH_SIZE, LENGTH = 4, 2048
BATCH_TOKENS = 16_384
"""runtime.batch_tokens: prompts and new tokens of a batch while evaluating."""
GENERATED = ((100, 1000, 128), (200, 400, 32))
"""Prompts, their tokens at most, new tokens: VerbMem, then KnowMem on forget and retain questions
behind ten examples."""
SCORED_TOKENS = 200 * LENGTH
"""Min-K: 100 texts that were to be forgotten and 100 that nobody trained on."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a preset needs; `peak` and `disk` in bytes, all else counts and seconds."""

    num_runs: int
    num_evaluations: int
    training: float
    quantizing: float
    evaluating: float
    peak: float
    disk: float

    @property
    def total(self) -> float:
        """Seconds of one GPU."""
        return self.training + self.quantizing + self.evaluating


def cost(preset: Preset, model: Model, machine: Machine) -> Cost:
    """The sum over all stages of a preset; models and data are on the local disk already."""
    methods, optimizers = preset.methods.split(), preset.optimizers.split()
    runs_each = len(optimizers) * preset.num_settings
    training = sum(
        runs_each * unlearning_seconds(method, tokens, preset, model, machine)
        for method in methods
        for tokens in preset.forget_tokens
    )
    if "sure" in optimizers:
        num_forget_terms = len({method.split("_")[0] for method in methods})
        tokens = num_forget_terms * sum(preset.forget_tokens)
        training += trained_seconds(tokens, preset.recompute, model, machine)
    num_runs = runs_each * len(methods) * len(preset.forget_tokens)
    num_models = num_runs + 2 * len(preset.forget_tokens)  # with the controls
    quantizers = preset.quantizers.split()
    num_kept = num_models * sum(quantizer in CALIBRATED for quantizer in quantizers)
    full = evaluation_seconds(model, machine)
    both = full + model.num_bytes / machine.disk_bytes  # the full model's logits are compared first
    return Cost(
        num_runs=num_runs,
        num_evaluations=num_models * (1 + len(quantizers)),
        training=training,
        quantizing=num_models * sum(QUANTIZING[quantizer] for quantizer in quantizers),
        evaluating=num_models * (full + len(quantizers) * both),
        peak=training_bytes(
            8,
            with_retain=any(map(has_retain, methods)),
            recompute=preset.recompute,
            model=model,
        ),
        disk=(num_runs + 2 + RESUMING) * model.num_bytes
        + num_kept * KEPT_BYTES * model.num_parameters,
    )


def unlearning_seconds(
    method: str, forget_tokens: float, preset: Preset, model: Model, machine: Machine
) -> float:
    """One run: what the target says, once, then the epochs; load and save.

    NPO remembers the target's forget texts, KLR its retain texts. A retain batch as large as the
    forget batch goes with every step.
    """
    remembered = forget_tokens * method.startswith("npo")
    remembered += preset.retain_tokens * method.endswith("klr")
    trained = preset.epochs * forget_tokens * (2 if has_retain(method) else 1)
    return (
        forward_seconds(remembered, model, machine)
        + trained_seconds(trained, preset.recompute, model, machine)
        + 2 * model.num_bytes / machine.disk_bytes
    )


def evaluation_seconds(model: Model, machine: Machine) -> float:
    """One model under all metrics: load, decode, score."""
    return (
        model.num_bytes / machine.disk_bytes
        + sum(decoding_seconds(*prompts, model, machine) for prompts in GENERATED)
        + forward_seconds(SCORED_TOKENS, model, machine)
    )


def decoding_seconds(
    num_prompts: int, prompt_tokens: int, new_tokens: int, model: Model, machine: Machine
) -> float:
    """Prompts in batches: one pass over them, then a step a token that reads every weight once."""
    num_batches = math.ceil(num_prompts / (BATCH_TOKENS // (prompt_tokens + new_tokens)))
    read = model.num_bytes / machine.bandwidth
    steps = num_batches * new_tokens * max(read, machine.least_step)
    return steps + forward_seconds(num_prompts * prompt_tokens, model, machine)


def trained_seconds(tokens: float, recompute: bool, model: Model, machine: Machine) -> float:
    """Forward and backward pass: 6 N T, or 8 N T where the forward pass runs twice."""
    return (4 if recompute else 3) * forward_seconds(tokens, model, machine)


def forward_seconds(tokens: float, model: Model, machine: Machine) -> float:
    """A multiplication and an addition for each weight and token: 2 N T."""
    return 2 * model.num_parameters * tokens / (machine.peak_flops * machine.utilisation)


def training_bytes(bytes_each: int, *, with_retain: bool, recompute: bool, model: Model) -> float:
    """The most that training holds at once, of `bytes_each` weight with gradient and moments.

    8 in pure bf16, 16 with fp32 weights. Activations of a block: 34 bytes a token and channel
    (Korthikanti et al., arXiv 2205.05198, without attention scores), in all blocks for the forget
    and the retain batch; if recomputed, in one block for one batch, and 2 bytes of each block's
    inputs.
    """
    values = BATCH_SIZE * LENGTH * model.hidden_size
    in_blocks = model.num_layers * values * (2 if with_retain else 1)
    activations = 2 * in_blocks + 34 * values if recompute else 34 * in_blocks
    return bytes_each * model.num_parameters + activations


def has_retain(method: str) -> bool:
    """Whether the method trains on retain texts too."""
    return method.endswith(("gdr", "klr"))


def main() -> None:
    """Prints a row a preset, and what does not fit such a GPU."""
    print(
        "| preset | runs | evaluations | train h | quantize h | evaluate h | GPU-hours "
        "| peak GB | disk GB |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, preset in PRESETS.items():
        row = cost(preset, LLAMA_7B, A100)
        hours = (row.training, row.quantizing, row.evaluating, row.total)
        print(
            f"| {name} | {row.num_runs} | {row.num_evaluations} | "
            + " | ".join(f"{seconds / HOUR:.1f}" for seconds in hours)
            + f" | {row.peak / GB:.0f} | {row.disk / GB:.0f} |"
        )
    for bytes_each, recompute, what in (
        (16, True, "with fp32 weights"),
        (8, False, "without recomputing activations"),
    ):
        held = training_bytes(bytes_each, with_retain=True, recompute=recompute, model=LLAMA_7B)
        print(f"{what}: {held / GB:.0f} GB")


if __name__ == "__main__":
    main()
