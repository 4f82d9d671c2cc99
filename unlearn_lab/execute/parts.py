"""Builds each node of a configuration once, into typed parts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unlearn_lab.config.build import Part, Refused, assemble
from unlearn_lab.data.corpus import CorpusSource
from unlearn_lab.evaluate.metric import AnyMetric
from unlearn_lab.evaluate.privleak import check_auc_retrain
from unlearn_lab.execute.arithmetic import with_arithmetic
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.models.import_stage import BaseModel
from unlearn_lab.plan.request import JobRequest, Values, plan_request
from unlearn_lab.quantize.grid import BIT_WIDTHS
from unlearn_lab.quantize.none import NoQuantizer
from unlearn_lab.quantize.quantizer import AnyQuantizer
from unlearn_lab.unlearn.objectives.objective import Objective
from unlearn_lab.unlearn.optimizers.update import FullUpdate, UpdateRule, update_part
from unlearn_lab.unlearn.training.settings import FineTuning, UnlearningTraining

Config = Mapping[str, Any]
_NO_QUANTIZER = {"_target_": f"{NoQuantizer.__module__}.{NoQuantizer.__name__}"}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts that a configuration describes, each with its node.

    Attributes:
        dataset: the corpus.
        model: the base model, the target and the retrain control.
        method: the unlearning objective.
        optimizer: the update rule of unlearning.
        trainer: training settings of unlearning.
        finetune: training settings of a target or control that is trained here.
        quant: the quantizer.
        no_quantizer: the quantizer of full-precision scores.
        metrics: the metrics by name.
        export: whether, or in which format, to export the quantized model.
    """

    dataset: Part[CorpusSource]
    model: Part[BaseModel]
    method: Part[Objective]
    optimizer: Part[UpdateRule]
    trainer: Part[UnlearningTraining]
    finetune: Part[FineTuning]
    quant: Part[AnyQuantizer]
    no_quantizer: Part[AnyQuantizer]
    metrics: Mapping[str, Part[AnyMetric]]
    export: bool | str

    @property
    def measured(self) -> dict[str, AnyMetric]:
        """Metrics by name, without their nodes."""
        return {name: part.value for name, part in self.metrics.items()}


def build_parts(config: Config) -> Parts:
    """Builds each node once; raises `Refused` with one line: path, value, what is allowed."""
    _require_figures(config["eval"])
    nodes = config["eval"]["metrics"]
    parts = Parts(
        dataset=assemble(config["dataset"], CorpusSource, "dataset"),
        model=assemble(config["model"], BaseModel, "model"),
        finetune=assemble(config["finetune"], FineTuning, "finetune"),
        metrics={
            name: assemble(node, AnyMetric, f"eval.metrics.{name}") for name, node in nodes.items()
        },
        optimizer=update_part(config["optimizer"]),
        trainer=assemble(config["trainer"], UnlearningTraining, "trainer"),
        method=assemble(config["method"], Objective, "method"),
        quant=assemble(config["quant"], AnyQuantizer, "quant"),
        no_quantizer=assemble(_NO_QUANTIZER, AnyQuantizer, "quant"),
        export=config["export"],
    )
    check_auc_retrain(config["eval"]["auc_retrain"], parts.dataset.value, parts.measured)
    if parts.trainer.value.adapter is not None and not isinstance(
        parts.optimizer.value, FullUpdate
    ):
        raise Refused(
            f"optimizer={type(parts.optimizer.value).__name__}: updates the model's own weights, "
            "which are frozen under an adapter; use optimizer=adamw, or trainer/adapter=none"
        )
    return parts


def plan_values(values: Values, choices: Mapping[str, str], content: ContentKey) -> JobRequest:
    """Plans a job from its settings alone: builds the parts, without the checks of the preflight.

    Raises `Refused` as `build_parts` and `plan_request` do.

    Args:
        values: the resolved configuration.
        choices: the selected option of each config group.
        content: digests of files outside the cache.
    """
    values = replace(values, config=with_arithmetic(values.config))
    return plan_request(values, build_parts(values.config), choices, content)


def _require_figures(settings: Config) -> None:
    """Raises `Refused` for impossible numbers among the evaluation's own settings."""
    smallest = settings["recovery"]["smallest_denominator"]
    if not isinstance(smallest, int | float) or not smallest > 0:
        raise Refused(f"eval.recovery.smallest_denominator={smallest}: must be above 0 (points)")
    kept = settings["recovery"]["smallest_kept"]
    if not isinstance(kept, int | float) or not kept >= 0:
        raise Refused(f"eval.recovery.smallest_kept={kept}: must be 0 or more (a share)")
    _require_measured(settings)
    bits = settings["bits"]
    if not isinstance(bits, list) or any(
        type(width) is not int or width not in BIT_WIDTHS for width in bits
    ):
        raise Refused(f"eval.bits={bits}: must be a list of whole numbers from 2 to 8")


def _require_measured(settings: Config) -> None:
    """Raises `Refused` where `eval.memories` or `eval.utility` names a metric that is not there."""
    known = ", ".join(settings["metrics"])
    memories, utility = settings["memories"], settings["utility"]
    if not isinstance(memories, list) or not set(memories) <= settings["metrics"].keys():
        raise Refused(
            f"eval.memories={memories}: must be a list of eval.metrics, which are {known}"
        )
    if utility is not None and utility not in settings["metrics"]:
        raise Refused(f"eval.utility={utility}: must be null or one of eval.metrics: {known}")
