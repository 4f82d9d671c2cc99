"""The typed top level of the configuration: its groups, and the settings outside every key."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Runtime:
    """Where and on what it runs; nothing here may change a result beyond float noise.

    `batch_tokens` does for `quant=llmint8`, whose evaluations therefore have it in their key.
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


@dataclass
class Wandb:
    """How results reach Weights & Biases; `mode` is auto, online, offline or disabled."""

    mode: str = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    timeout: float = MISSING


@dataclass
class ThresholdSettings:
    """Where one verdict of the closing table ends and the next begins (see `report.verdict`)."""

    destroyed_share: float = MISSING
    forgotten_margin: float = MISSING
    return_margin: float = MISSING


@dataclass
class Report:
    """What is shown at the end and what is sent where."""

    sweep: str = MISSING
    html: bool = MISSING
    num_samples: int = MISSING
    wandb: Wandb = field(default_factory=Wandb)
    thresholds: ThresholdSettings = field(default_factory=ThresholdSettings)


@dataclass
class Settings:
    """The whole configuration.

    The groups hold nodes with a `_target_`; `build` checks each against its target's signature.
    `until` names a stage to end at (its name, role or key), `dry` shows the plan and builds
    nothing; `trust` names packages whose classes nodes may name (see `trusted`), `conf_dir` a
    folder with further options. None of them has anything to do with a result. `export` is false,
    true, or the format in which the unlearned model is kept as it was quantized.
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
