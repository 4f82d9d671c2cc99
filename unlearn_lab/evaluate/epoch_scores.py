"""Scores a model while it unlearns, in full precision and quantized."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch

from unlearn_lab.config.build import build as make
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.evaluate.evaluate_stage import score_all
from unlearn_lab.evaluate.metric import AnyMetric
from unlearn_lab.models.arithmetic import Arithmetic, evaluation_arithmetic
from unlearn_lab.models.load import DTYPES, load_model
from unlearn_lab.plan.protocols import FullPrecision
from unlearn_lab.quantize.quantizer import AnyQuantizer, Quantizer
from unlearn_lab.unlearn.training.curve import Curve, Point
from unlearn_lab.unlearn.training.scoring import Observed

Node = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EpochScores:
    """Scores copies of a model in training as the evaluations score the trained model.

    The last epoch's scores are those of the leaf with this quantizer. A copy takes as much memory
    as the model; there is one at a time. All attributes are plain values, so that a worker process
    can be given them.

    Attributes:
        every_epochs: epochs between scorings.
        metrics: nodes of the metrics, by name.
        quant: node of the quantizer.
        quantizer: name of its option.
        weights: dtype of the weights, as in `trainer.weights`.
        arithmetic: dtype of the products, as in `eval.arithmetic`.
    """

    every_epochs: int
    metrics: Mapping[str, Node]
    quant: Node
    quantizer: str
    weights: str
    arithmetic: Arithmetic

    @property
    def curve(self) -> Curve:
        """Returns a curve without points."""
        return Curve(settings=asdict(self), points=())

    def is_due(self, epoch: int) -> bool:
        """Whether the model is scored after this epoch; 0 is before the first."""
        return epoch % self.every_epochs == 0

    def point(self, training: Observed, epoch: int) -> Point:
        """Scores copies of the model: one in full precision, another quantized.

        Two, because scoring in float32 upcasts bfloat16 weights in place.
        """
        quantizer = make(self.quant, AnyQuantizer, "trainer.watch.quant")
        full = self._scores(training, _copy(training, self.weights))
        if isinstance(quantizer, FullPrecision):
            return Point(epoch=epoch, full=full, quantized={})
        copied = _copy(training, self.weights)
        cast("Quantizer", quantizer).quantize(copied)
        return Point(epoch=epoch, full=full, quantized=self._scores(training, copied))

    def _scores(self, training: Observed, model: PreTrainedModel) -> dict[str, float]:
        context = training.context
        metrics = {
            name: make(node, AnyMetric, f"eval.metrics.{name}")
            for name, node in self.metrics.items()
        }
        corpus = read_corpus(context.inputs["corpus"])
        with evaluation_arithmetic(model, self.arithmetic):
            found = score_all(
                model, context.tokenizer, corpus, metrics, context.runtime.batch_tokens
            )
        return {name: score.value for name, score in found.items()}


@torch.no_grad()
def _copy(training: Observed, weights: str) -> PreTrainedModel:
    """Loads the model that the training started from, and gives it the present weights."""
    context = training.context
    model = cast("Any", load_model(context.inputs["target"].path, weights))
    model = model.to(context.model.device).eval()
    copied = dict(model.named_parameters())
    for name, value in training.weights():
        copied[name].data = value.to(DTYPES[weights], copy=True)
    return model
