"""Writes the metrics of every training step into one file."""

import json
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers.logger import Logger


class StepLog(Logger):
    """Appends one JSON line per call of `log_metrics`; a step may have several lines.

    `latest` has all metrics of the latest step.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._begun = False
        self._step: int | None = None
        self.latest: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Required by Lightning."""
        return "steps"

    @property
    def version(self) -> str:
        """Required by Lightning."""
        return ""

    def log_hyperparams(self, *args: object, **kwargs: object) -> None:
        """Ignores hyper-parameters: the stage's parameters record them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends a step's metrics; the first call drops lines of steps that a resume repeats."""
        if not self._begun:
            self._begun = True
            self._forget_from(step or 0)
        self.latest = {**(self.latest if step == self._step else {}), **metrics}
        self._step = step
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **metrics}) + "\n")

    def _forget_from(self, step: int) -> None:
        """Drops an interrupted attempt's lines of `step` and later ones, which are repeated."""
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        done = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] < step]
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(done), encoding="utf-8")
        fresh.rename(self._path)
