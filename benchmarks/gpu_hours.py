"""Estimates the cost of 7B Llama sweeps on one 80 GB GPU: hours, memory and disk.

    python -m benchmarks.gpu_hours

Calculated only from the figures below and the presets in sweeps/grid: no model is loaded and no GPU
is used. Each row assumes an empty cache, although sweeps share cached stages. Not included:
downloads, the weight-level figures (`codes`, `widths`: on the CPU), and the slower decoding of
LLM.int8() compared with 16-bit weights.
"""

import math
from dataclasses import dataclass

from benchmarks.presets import Preset, load_presets

HOUR, MINUTE, GB = 3600.0, 60.0, 1e9
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
BATCH_TOKENS = 16_384
"""runtime.batch_tokens: prompts and new tokens of a batch while evaluating."""
VERBMEM, KNOWMEM = (100, 1000, 128), (100, 400, 32)
"""Prompts, their tokens at most, new tokens; KnowMem's questions stand behind ten examples, and are
asked on forget and on retain."""
SCORED_TOKENS = 200 * 2048
"""Min-K: 100 texts that were to be forgotten and 100 that nobody trained on."""
TRIVIAQA, FLUENCY = (100, 200, 256), (100, 30, 128)
"""As VERBMEM: 100 questions behind five examples; 20 words of 100 texts."""
CHOICE_TOKENS = 171 * 4 * 1000 + 50 * 5 * 300
"""MMLU: 171 questions behind five examples, each with four answers; TruthfulQA: 50, about five."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a preset needs; `peak` and `disk` in bytes, all else counts and seconds.

    Trainings that a rule may end are counted with all epochs.
    """

    num_jobs: int
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
    runs_each = len(preset.optimizers) * preset.num_settings
    training = sum(
        runs_each * unlearning_seconds(method, tokens, preset, model, machine)
        for method in preset.methods
        for tokens in preset.forget_tokens
    )
    if "sure" in preset.optimizers:
        num_forget_terms = len({forget_term(method) for method in preset.methods})
        tokens = num_forget_terms * sum(preset.forget_tokens)
        training += trained_seconds(tokens, model, machine)
    num_models = preset.num_runs + 2  # with the controls, which all folds share
    quantizers = preset.quantizers
    num_kept = num_models * sum(quantizer in CALIBRATED for quantizer in quantizers)
    full = evaluation_seconds(preset, model, machine)
    both = full + model.num_bytes / machine.disk_bytes  # the full model's logits are compared first
    return Cost(
        num_jobs=preset.num_jobs,
        num_runs=preset.num_runs,
        num_evaluations=num_models * (1 + len(quantizers)),
        training=training,
        quantizing=num_models * sum(QUANTIZING[quantizer] for quantizer in quantizers),
        evaluating=num_models * (full + len(quantizers) * both),
        peak=training_bytes(8, preset, recompute=True, model=model),
        disk=(preset.num_runs + 2 + RESUMING) * model.num_bytes
        + num_kept * KEPT_BYTES * model.num_parameters,
    )


def unlearning_seconds(
    method: str, forget_tokens: float, preset: Preset, model: Model, machine: Machine
) -> float:
    """One run: what the target says, once, then the epochs; load and save.

    NPO remembers the target's forget texts, KLR its retain texts. A retain batch as large as the
    forget batch goes with every step. A rule that may stop asks after every epoch.
    """
    remembered = forget_tokens * method.startswith("npo")
    remembered += preset.retain_tokens * method.endswith("klr")
    trained = preset.epochs * forget_tokens * (2 if has_retain(method) else 1)
    asked = preset.epochs * preset.stops * decoding_seconds(*KNOWMEM, model, machine)
    return (
        forward_seconds(remembered, model, machine)
        + trained_seconds(trained, model, machine)
        + asked
        + 2 * model.num_bytes / machine.disk_bytes
    )


def evaluation_seconds(preset: Preset, model: Model, machine: Machine) -> float:
    """One model under all metrics: load, decode, score."""
    generated = [VERBMEM, KNOWMEM, KNOWMEM, *((TRIVIAQA, FLUENCY) if preset.further else ())]
    scored = SCORED_TOKENS + preset.further * CHOICE_TOKENS
    return (
        model.num_bytes / machine.disk_bytes
        + sum(decoding_seconds(*prompts, model, machine) for prompts in generated)
        + forward_seconds(scored, model, machine)
    )


def decoding_seconds(
    num_prompts: int, prompt_tokens: int, new_tokens: int, model: Model, machine: Machine
) -> float:
    """Prompts in batches: one pass over them, then a step a token that reads every weight once."""
    num_batches = math.ceil(num_prompts / (BATCH_TOKENS // (prompt_tokens + new_tokens)))
    read = model.num_bytes / machine.bandwidth
    steps = num_batches * new_tokens * max(read, machine.least_step)
    return steps + forward_seconds(num_prompts * prompt_tokens, model, machine)


def trained_seconds(tokens: float, model: Model, machine: Machine) -> float:
    """Forward pass, twice as activations are recomputed, and backward pass: 8 N T."""
    return 4 * forward_seconds(tokens, model, machine)


def forward_seconds(tokens: float, model: Model, machine: Machine) -> float:
    """A multiplication and an addition for each weight and token: 2 N T."""
    return 2 * model.num_parameters * tokens / (machine.peak_flops * machine.utilisation)


def training_bytes(bytes_each: int, preset: Preset, *, recompute: bool, model: Model) -> float:
    """The most that training holds at once, of `bytes_each` weight with gradient and moments.

    8 in pure bf16, 16 with fp32 weights. Activations of a block: 34 bytes a token and channel
    (Korthikanti et al., arXiv 2205.05198, without attention scores), in all blocks for the forget
    and the retain batch; if recomputed, in one block for one batch, and 2 bytes of each block's
    inputs.
    """
    values = preset.batch_size * preset.length * model.hidden_size
    in_blocks = model.num_layers * values * (2 if any(map(has_retain, preset.methods)) else 1)
    activations = 2 * in_blocks + 34 * values if recompute else 34 * in_blocks
    return bytes_each * model.num_parameters + activations


def has_retain(method: str) -> bool:
    """Whether the method trains on retain texts too."""
    return method.endswith(("gdr", "klr"))


def forget_term(method: str) -> str:
    """The method's loss on forget texts, which saliency is the gradient of."""
    return "npo_muse" if method.startswith("npo_muse") else method.split("_")[0]


def told(preset: Preset) -> str:
    """The cost in a line, as the first line of the preset's file ends."""
    found = cost(preset, LLAMA_7B, A100)
    return (
        f"{found.num_jobs} jobs, {'at most' if preset.stops else 'about'} "
        f"{found.total / HOUR:.0f} GPU-hours on one 80 GB GPU and "
        f"{found.disk / GB:.0f} GB of disk (calculated: benchmarks/RESULTS.md)."
    )


def main() -> None:
    """Prints a row a preset and its corrected twin, which cost the same, and what does not fit."""
    print(
        "| preset | jobs | runs | evaluations | train h | quantize h | evaluate h | GPU-hours "
        "| peak GB | disk GB |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    presets = {
        name: preset for name, preset in load_presets().items() if not name.endswith("_corrected")
    }
    for name, preset in presets.items():
        row = cost(preset, LLAMA_7B, A100)
        counts = (row.num_jobs, row.num_runs, row.num_evaluations)
        hours = (row.training, row.quantizing, row.evaluating, row.total)
        print(
            f"| {name} | {' | '.join(map(str, counts))} | "
            + " | ".join(f"{seconds / HOUR:.1f}" for seconds in hours)
            + f" | {row.peak / GB:.0f} | {row.disk / GB:.0f} |"
        )
    for bytes_each, recompute, what in (
        (16, True, "with fp32 weights"),
        (8, False, "without recomputing activations"),
    ):
        held = [
            training_bytes(bytes_each, preset, recompute=recompute, model=LLAMA_7B) / GB
            for preset in presets.values()
        ]
        print(f"{what}: {min(held):.0f} to {max(held):.0f} GB")


if __name__ == "__main__":
    main()
