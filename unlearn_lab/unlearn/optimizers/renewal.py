"""Refreshes SURE's mask while it trains."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from unlearn_lab.unlearn.optimizers.mask import read_mask, summary, write_mask
from unlearn_lab.unlearn.optimizers.saliency import choose, mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.selected import SelectedOptimizer, parts_of
from unlearn_lab.unlearn.optimizers.units import Layout
from unlearn_lab.unlearn.optimizers.update import Training
from unlearn_lab.unlearn.ranks import as_on_first, wait

if TYPE_CHECKING:
    from unlearn_lab.unlearn.optimizers.sure import SURE


class Renewal(Callback):
    """Computes a new mask every `refresh_steps` steps; saves the union of all masks."""

    def __init__(
        self,
        rule: "SURE",
        training: Training,
        layouts: Mapping[str, Layout],
        first: Mapping[str, Tensor],
        gamma: float,
    ) -> None:
        self._rule = rule
        self._training = training
        self._layouts = layouts
        self._step = 0
        self._union = read_mask(training.work) or dict(first)  # the file exists after a resume
        wait()  # all ranks have read the file that rank 0 overwrites next
        self.facts: dict[str, object] = {}
        self._tell(gamma)

    def state_dict(self) -> dict[str, Any]:
        """Returns the latest mask's threshold; the union of masks is a file of its own."""
        return {"gamma": self._gamma}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the threshold in the facts."""
        self._tell(state_dict["gamma"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Ranks the units at the current weights if a refresh is due before this step."""
        every, step = self._rule.refresh_steps, trainer.global_step
        if every is None or step == self._step or step % every:
            return
        self._step = step
        optimizer = trainer.optimizers[0]
        if not isinstance(optimizer, SelectedOptimizer):
            raise TypeError(f"SURE's optimizer was replaced by {type(optimizer).__name__}")
        mask, gamma = self._rank()
        optimizer.choose(parts_of(self._training.parameters, self._layouts, mask, empty=True))
        self._union = {name: kept | mask[name] for name, kept in self._union.items()}
        self._tell(gamma)

    def _rank(self) -> tuple[Mapping[str, Tensor], float]:
        taking_part = {name: self._training.parameters[name] for name in self._layouts}
        self._training.model.eval()
        gradient = mean_gradient(taking_part, self._training.forget_losses(self._rule.batches))
        self._training.model.train()
        scores = as_on_first(unit_scores(gradient, self._layouts))
        return choose(scores, self._rule.percentile)

    def _tell(self, gamma: float) -> None:
        self._gamma = gamma
        write_mask(self._training.work, self._union)
        self.facts["mask"] = summary(self._union, self._layouts, gamma)
