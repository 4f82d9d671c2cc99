"""What an audit asks for, as the arguments of the sweeps that answer it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unlearn_lab.config.libraries import EXTRAS, installed

LIBRARIES = {
    "none": (),
    "bf16": (),
    "rtn8": (),
    "rtn4": (),
    "nf4": ("bitsandbytes",),
    "fp4": ("bitsandbytes",),
    "gptq4": ("llmcompressor",),
    "awq4": ("llmcompressor",),
    "gguf_q4_0": ("gguf",),
}
"""Quantizers that an audit knows of, and the libraries of each that may be missing."""
USUAL = ("rtn8", "rtn4", "nf4", "gptq4", "awq4", "gguf_q4_0")
"""Tested unless others are named: those in which models are deployed."""
_CALIBRATED = re.compile(r"(gptq|awq)\d")
_DATASETS = ("tofu", "muse_news", "muse_books")
_NAME_OF_OPTION = re.compile(r"[\w-]+")


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """The question of an audit.

    Attributes:
        target: folder, .gguf file or hub name (`NAME@REVISION`) of the model before unlearning.
        unlearned: those of the models to judge.
        retrain: that of the model that never saw the forget set; None if there is none.
        dataset: name of a data set option, or a folder with texts of one's own.
        quantizers: options of the group `quant`.
        calibration: source of the text for quantizers that need some.
        home: folder of the cache and the records.
        sweep: name under which the records are kept.
        overrides: further settings, as on the command line of unlearn_lab.
    """

    target: str
    unlearned: tuple[str, ...]
    retrain: str | None
    dataset: str
    quantizers: tuple[str, ...]
    calibration: str
    home: Path
    sweep: str
    overrides: tuple[str, ...]

    def sweeps(self) -> Iterator[list[str]]:
        """Yields the arguments of the commands: quantizers that need text, then all others."""
        calibrated = tuple(name for name in self.quantizers if _CALIBRATED.fullmatch(name))
        plain = tuple(name for name in self.quantizers if name not in calibrated)
        if calibrated:  # first: there are more reasons to refuse them
            asked = replace(self, quantizers=calibrated)
            yield [*asked._arguments(), f"quant/calibration={self.calibration}"]
        if plain:
            yield replace(self, quantizers=plain)._arguments()

    def _arguments(self) -> list[str]:
        control = [] if self.retrain is None else [f"model.retrain={quoted(self.retrain)}"]
        return [
            "-m",
            "model=hf",
            f"model.path={quoted(self.target)}",
            "model.finetune=false",
            *control,
            *_dataset(self.dataset),
            "method=given",
            f"method.path={','.join(quoted(model) for model in self.unlearned)}",
            f"quant={','.join(self.quantizers)}",
            f"runtime.home={quoted(str(self.home))}",
            f"report.sweep={quoted(self.sweep)}",
            "report.html=false",
            *self.overrides,
        ]


def usual_quantizers() -> tuple[str, ...]:
    """Returns the usual quantizers whose libraries are installed."""
    return tuple(name for name in USUAL if not missing_libraries(name))


def missing_libraries(quantizer: str) -> tuple[str, ...]:
    """Returns the extras that the quantizer needs and that are not installed."""
    needed = LIBRARIES.get(quantizer, ())
    return tuple(EXTRAS[library] for library in needed if installed(library) is None)


def quoted(value: str) -> str:
    """Returns a value as Hydra's grammar reads it back."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    ending = re.search(r"\\+$", escaped)
    return f'"{escaped}{ending[0] if ending else ""}"'


def _dataset(name: str) -> Sequence[str]:
    if name in _DATASETS or (_NAME_OF_OPTION.fullmatch(name) and not Path(name).exists()):
        return [f"dataset={name}"]
    return ["dataset=custom", f"dataset.path={quoted(name)}"]
