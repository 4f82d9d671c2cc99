"""Defines the configuration's top level: groups of parts, runtime, report and single settings."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Runtime:
    """Where and on what a job runs.

    No setting changes a result beyond float noise, except `batch_tokens` under `quant=llmint8`.

    Attributes:
        home: folder of cache, results and logs.
        accelerator: auto, cpu, gpu or another device type of torch.
        devices: processes of a training, each on its own GPU.
        strategy: ddp or fsdp, with several devices.
        threads: torch threads; None: torch's choice.
        batch_tokens: tokens per batch in evaluations; part of their key under `quant=llmint8`.
        micro_batch: maximum number of sequences of each split in one forward and backward pass of a
            training; gradients of the parts of a batch are summed in float32. None: whole batches.
        progress: whether to show progress bars; None: only on a terminal.
        checkpoint_seconds: least seconds between checkpoints of a training.
        claim_beat: seconds between heartbeats of a stage that is being built.
        claim_look: seconds between checks of a stage that another process builds.
        claim_silence: seconds without a heartbeat after which its builder counts as dead.
        gradient_checkpointing: whether to recompute activations; None: on a GPU.
        auto_arithmetic: what `arithmetic=auto` means for jobs that run elsewhere; None: jobs run
            here, and it depends on the device.
    """

    home: str = MISSING
    accelerator: str = MISSING
    devices: int = MISSING
    strategy: str = MISSING
    threads: int | None = MISSING
    batch_tokens: int = MISSING
    progress: bool | None = MISSING
    checkpoint_seconds: float = MISSING
    claim_beat: float = MISSING
    claim_look: float = MISSING
    claim_silence: float = MISSING
    gradient_checkpointing: bool | None = MISSING
    auto_arithmetic: str | None = MISSING
    micro_batch: int | None = None


@dataclass
class Wandb:
    """How results are sent to Weights & Biases.

    Attributes:
        mode: auto, online, offline or disabled.
        project: its project.
        entity: its user or team; None: the default.
        timeout: seconds each for start and upload.
    """

    mode: str = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    timeout: float = MISSING


@dataclass
class ThresholdSettings:
    """Where one verdict ends and the next begins (see `record.verdict.VerdictThresholds`).

    Attributes:
        destroyed_share: share of the target's utility below which a model is destroyed.
        forgotten_margin: points above the retrain control up to which a model has forgotten.
        return_margin: points above full precision and the quantized control from which the
            knowledge has come back.
    """

    destroyed_share: float = MISSING
    forgotten_margin: float = MISSING
    return_margin: float = MISSING


@dataclass
class Report:
    """What is shown at the end, and what is sent where.

    Attributes:
        sweep: name of the sweep.
        html: whether to write the HTML report.
        num_samples: answers shown for each leaf, metric and model.
        wandb: settings of Weights & Biases.
        thresholds: settings of the verdicts.
    """

    sweep: str = MISSING
    html: bool = MISSING
    num_samples: int = MISSING
    wandb: Wandb = field(default_factory=Wandb)
    thresholds: ThresholdSettings = field(default_factory=ThresholdSettings)


@dataclass
class Settings:
    """The whole configuration.

    The groups contain nodes with a `_target_`; `build` checks each against its target's signature.
    `until`, `dry`, `trust` and `conf_dir` never change a result.

    Attributes:
        model: the model to fine-tune, or finished models.
        dataset: the corpus to forget, retain and score on.
        finetune: how target and retrain control are trained.
        generic_text: text for calibration.
        method: the unlearning objective.
        optimizer: the update rule.
        trainer: how unlearning is trained.
        quant: the quantizer.
        eval: the metrics and their settings.
        tune: the number that a sweeper searches by.
        recipe: values for a model, data set and method, to which other groups refer.
        runtime: where and on what a job runs.
        report: what is shown and sent.
        seed: seed of initialisation, training and saliency.
        export: whether to keep the quantized unlearned model, or the format to keep it in.
        until: stage to end at: its name, role or key.
        dry: whether to show the plan and build nothing.
        trust: packages whose classes nodes may name (see `trusted`).
        conf_dir: folder with further options.
    """

    model: Any = MISSING
    dataset: Any = MISSING
    finetune: Any = MISSING
    generic_text: Any = None
    method: Any = MISSING
    optimizer: Any = MISSING
    trainer: Any = MISSING
    quant: Any = MISSING
    eval: Any = MISSING
    tune: Any = None
    recipe: Any = None
    runtime: Runtime = field(default_factory=Runtime)
    report: Report = field(default_factory=Report)
    seed: int = MISSING
    export: Any = False
    until: str | None = None
    dry: bool = False
    trust: list[str] = field(default_factory=list[str])
    conf_dir: str | None = None
