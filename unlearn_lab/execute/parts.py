"""Builds each node of a configuration once, into typed parts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unlearn_lab.config.build import Part, Refused, assemble
from unlearn_lab.data.corpus import CorpusSource
from unlearn_lab.evaluate.metric import AnyMetric
from unlearn_lab.evaluate.privleak import check_auc_retrain
from unlearn_lab.evaluate.watch import Watch
from unlearn_lab.execute.arithmetic import with_arithmetic
from unlearn_lab.execute.given_weights import GIVEN, with_stored_weights
from unlearn_lab.execute.watching import requested_watch, warn_without_curve
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.models.given import GivenModel, Holding, UnknownUpdate
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
class Training:
    """What unlearning by training consists of.

    Attributes:
        method: the unlearning objective.
        optimizer: the update rule.
        trainer: the settings.
        watch: when the model is scored while it unlearns; None: never.
    """

    method: Objective
    optimizer: UpdateRule
    trainer: UnlearningTraining
    watch: Watch | None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts that a configuration describes, each with its node.

    Attributes:
        dataset: the corpus.
        model: the base model, the target and the retrain control.
        method: the unlearning objective, or a model that was unlearned elsewhere.
        optimizer: the update rule of unlearning, or what is known of it.
        trainer: training settings of unlearning, or how given models are held.
        training: the values of these three where unlearning is a training; None for a given model.
        finetune: training settings of a target or control that is trained here.
        quant: the quantizer.
        no_quantizer: the quantizer of full-precision scores.
        metrics: the metrics by name.
        export: whether, or in which format, to export the quantized model.
    """

    dataset: Part[CorpusSource]
    model: Part[BaseModel]
    method: Part[Any]
    optimizer: Part[Any]
    trainer: Part[Any]
    training: Training | None
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
    unlearn = _given_parts(config) if _is_given(config["method"]) else _trained_parts(config)
    parts = Parts(
        dataset=assemble(config["dataset"], CorpusSource, "dataset"),
        model=assemble(config["model"], BaseModel, "model"),
        finetune=assemble(config["finetune"], FineTuning, "finetune"),
        metrics={
            name: assemble(node, AnyMetric, f"eval.metrics.{name}") for name, node in nodes.items()
        },
        **unlearn,
        quant=assemble(config["quant"], AnyQuantizer, "quant"),
        no_quantizer=assemble(_NO_QUANTIZER, AnyQuantizer, "quant"),
        export=config["export"],
    )
    check_auc_retrain(config["eval"]["auc_retrain"], parts.dataset.value, parts.measured)
    return parts


def _is_given(node: Config) -> bool:
    return node.get("_target_") == GIVEN


def _trained_parts(config: Config) -> dict[str, Any]:
    """Builds the parts of an unlearning by training."""
    for group in ("trainer", "optimizer"):
        if str(config[group].get("_target_", "")).startswith(f"{GivenModel.__module__}."):
            raise Refused(f"{group}=given: only for a model that is given, method=given")
    method = assemble(config["method"], Objective, "method")
    optimizer = update_part(config["optimizer"])
    trainer = assemble(training_settings(config), UnlearningTraining, "trainer")
    if trainer.value.adapter is not None and not isinstance(optimizer.value, FullUpdate):
        raise Refused(
            f"optimizer={type(optimizer.value).__name__}: updates the model's own weights, "
            "which are frozen under an adapter; use optimizer=adamw, or trainer/adapter=none"
        )
    values = Training(
        method=method.value,
        optimizer=optimizer.value,
        trainer=trainer.value,
        watch=requested_watch(config),
    )
    return {"method": method, "optimizer": optimizer, "trainer": trainer, "training": values}


def training_settings(config: Config) -> dict[str, Any]:
    """Returns the node `trainer` without `watch`, which changes no weight and is in no key."""
    return {name: value for name, value in config["trainer"].items() if name != "watch"}


def _given_parts(config: Config) -> dict[str, Any]:
    """Builds the parts of a model that was unlearned elsewhere."""
    expected = {"method": GivenModel, "optimizer": UnknownUpdate, "trainer": Holding}
    for group, kind in expected.items():
        if config[group].get("_target_") != f"{kind.__module__}.{kind.__name__}":
            raise Refused(
                f"{group}: method=given is not trained here; leave {group} out, or give "
                f"{group}=given"
            )
    if config["model"].get("finetune", True):
        raise Refused(
            "method=given: needs the model that it was unlearned from: model=hf model.path=TARGET "
            "model.finetune=false, and model.retrain=CONTROL if there is one"
        )
    parts = {group: assemble(config[group], kind, group) for group, kind in expected.items()}
    return {**parts, "training": None}


def plan_values(values: Values, choices: Mapping[str, str], content: ContentKey) -> JobRequest:
    """Plans a job from its settings alone: builds the parts, without the checks of the preflight.

    Raises `Refused` as `build_parts` and `plan_request` do.

    Args:
        values: the resolved configuration.
        choices: the selected option of each config group.
        content: digests of files outside the cache.
    """
    values = replace(values, config=with_stored_weights(with_arithmetic(values.config)))
    asked = plan_request(values, build_parts(values.config), choices, content)
    warn_without_curve(asked)
    return asked


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
