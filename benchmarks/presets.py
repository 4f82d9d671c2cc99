"""Reads the cost-relevant settings of the 7B presets in sweeps/grid, composed by Hydra."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from unlearn_lab.config.hydra_setup import prepare_configuration
from unlearn_lab.config.paths import data_dir, plugin_dir
from unlearn_lab.execute.cores import num_jobs

NEWS_FOLDS = (0.83e6, 1.67e6, 2.51e6, 3.36e6)
"""Tokens of the cumulative forget folds of MUSE-News. The first is 102 steps of 4 x 2048 tokens in
the reference scripts; 3.9 bytes a token give the others from the dataset card's 3.28, 6.55, 9.87
and 13.22 MB (MUSE, arXiv 2407.06460, rounds to 0.8 and 3.3 M)."""
NEWS_RETAIN = 1.64e6
"""retain1: 6.46 MB."""
BOOKS_FORGET, BOOKS_RETAIN = 1.1e6, 0.22e6
"""MUSE's 1.1 M tokens are 4.10 MB; retain1, which is trained on, is 0.84 MB (the paper's 0.5 M fits
retain2, which is asked about)."""
_FIXED_EPOCHS = "unlearn_lab.unlearn.training.stop.FixedEpochs"
_HARNESS = "unlearn_lab.evaluate.harness.HarnessTask"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A sweep, as far as its cost depends on it; `params` are the values that jobs combine."""

    params: Mapping[str, Sequence[str]]
    forget_tokens: Sequence[float]
    """Of what one training forgets: once, or for each fold."""
    retain_tokens: float
    epochs: int
    batch_size: int
    length: int
    stops: bool
    """A rule may end a training after any epoch, for which it asks KnowMem's forget questions."""
    further: bool
    """MMLU, TruthfulQA, TriviaQA and fluency are measured too."""

    @property
    def methods(self) -> Sequence[str]:
        """The methods that are trained."""
        return self.params["method"]

    @property
    def optimizers(self) -> Sequence[str]:
        """The optimizers that each method is trained with."""
        return self.params.get("optimizer", ("adamw",))

    @property
    def quantizers(self) -> Sequence[str]:
        """What every model is scored under besides full precision."""
        return [name for name in self.params["quant"] if name != "none"]

    @property
    def num_settings(self) -> int:
        """Learning rates or percentiles tried with each optimizer."""
        return math.prod(
            len(values) for name, values in self.params.items() if name.startswith("optimizer.")
        )

    @property
    def num_runs(self) -> int:
        """Distinct trainings.

        Jobs that differ in the quantizer alone share one; a later fold of sustainability goes on
        from the earlier one's.
        """
        each = len(self.optimizers) * self.num_settings * len(self.forget_tokens)
        return len(self.methods) * each

    @property
    def num_jobs(self) -> int:
        """Combinations of `params`."""
        return math.prod(len(values) for values in self.params.values())


@cache
def load_presets() -> Mapping[str, Preset]:
    """The presets that train MUSE's models, by name."""
    if str(plugin_dir()) not in sys.path:
        sys.path.append(str(plugin_dir()))
    prepare_configuration(num_jobs)
    presets = dict[str, Preset]()
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        for path in sorted((data_dir("sweeps") / "grid").glob("*.yaml")):
            config = compose("config", [f"+grid={path.stem}"], return_hydra_config=True)
            chosen = config.hydra.runtime.choices
            if chosen.model.startswith("muse_") and chosen.method != "given":
                presets[path.stem] = preset_of(config)
    return presets


def preset_of(config: DictConfig) -> Preset:
    """What a composed configuration asks for, Hydra's part of it included.

    Raises `ValueError` for a swept setting whose cost is not known.
    """
    params = {name: str(values).split(",") for name, values in config.hydra.sweeper.params.items()}
    known = ("method", "optimizer", "quant", "dataset.fold")
    for name in params:
        if name not in known and not name.startswith("optimizer."):
            raise ValueError(f"hydra.sweeper.params.{name}: {', '.join(known)} or optimizer.*")
    corpus, trainer = config.hydra.runtime.choices.dataset, config.trainer
    nodes: Any = OmegaConf.to_container(config.eval.metrics, resolve=True)
    return Preset(
        params=params,
        forget_tokens=_forget_tokens(corpus, config.dataset.folds),
        retain_tokens=NEWS_RETAIN if corpus == "muse_news" else BOOKS_RETAIN,
        epochs=trainer.epochs,
        batch_size=trainer.batch_size,
        length=trainer.max_length,
        stops=trainer.stop["_target_"] != _FIXED_EPOCHS,
        further=any(node["_target_"] == _HARNESS for node in nodes.values()),
    )


def _forget_tokens(corpus: str, folds: str | None) -> Sequence[float]:
    """Scalability's folds contain one another, sustainability's are of the first one's size."""
    if corpus == "muse_books":
        return (BOOKS_FORGET,)
    if folds == "scalability":
        return NEWS_FOLDS
    return NEWS_FOLDS[:1] * (1 if folds is None else len(NEWS_FOLDS))
