"""Settings of the scores that are taken while a model unlearns (`trainer.watch`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_lab.quantize.quantizer import AnyQuantizer, Quantizer


@dataclass(frozen=True, kw_only=True)
class Watch:
    """When and how a model is scored while it unlearns.

    Attributes:
        every_epochs: epochs between scorings, at least 1; None: it is not scored.
        metrics: names of `eval.metrics`; None: `eval.memories` and `eval.utility`.
        quant: the quantizer; one that needs no calibration text.
    """

    every_epochs: int | None
    metrics: tuple[str, ...] | None
    quant: AnyQuantizer

    def __post_init__(self) -> None:
        if self.every_epochs is not None and self.every_epochs < 1:
            raise ValueError(f"every_epochs={self.every_epochs}: must be at least 1, or null")
        if self.metrics == ():
            raise ValueError("metrics=[]: name at least one metric of eval.metrics, or null")
        in_place = isinstance(self.quant, Quantizer)
        if not in_place:
            raise ValueError(
                f"quant={type(self.quant).__name__}: does not round a model within seconds; use "
                "another, such as quant@trainer.watch.quant=rtn4"
            )

    def names(self, memories: Sequence[str], utility: str | None) -> tuple[str, ...]:
        """Returns the names of the metrics, given those of the evaluation."""
        found = (*memories, *([] if utility is None else [utility]))
        return found if self.metrics is None else self.metrics
