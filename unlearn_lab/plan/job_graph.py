"""Turns the parts of a configuration into a graph of stages whose leaf is one record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.stage import Stage
from unlearn_lab.plan.corpora import Corpora, corpora
from unlearn_lab.plan.pinned import Parts, Pinned, pin, stage
from unlearn_lab.plan.protocols import (
    BatchDependent,
    FinishedModel,
    FinishedUnlearning,
    FullPrecision,
    GivenModels,
    NeedsCalibration,
    NeedsControlScores,
    NeedsSaliency,
)
from unlearn_lab.plan.quantize import (
    asked_export,
    calibration_stage,
    export_stages,
    quantized_models,
)
from unlearn_lab.plan.stages import Config


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages of one job.

    Attributes:
        corpora: the corpora to score on and to unlearn.
        base: the model where training starts.
        calibration: the text for the quantizer; None if it needs none.
        unlearn: the (last) unlearning.
        record: the leaf of the graph.
    """

    corpora: Corpora
    base: Stage
    calibration: Stage | None
    unlearn: Stage
    record: Stage

    @property
    def finetunes(self) -> bool:
        """Whether target and control are trained here, from the base."""
        return "base" in self.record.inputs["target"].inputs


def plan(parts: Parts, config: Config, content: ContentKey) -> Plan:
    """Returns the graph of one job.

    Its stages: corpus, base, target, retrain (with a control), saliency (if the optimizer masks by
    it), unlearn (in sustainability one per fold, each from the previous), calibration and three
    quantized models (if the quantizer's result is stored), six evaluations (three without a
    quantizer), codes, widths, export (if another format is requested), record. Raises `ValueError`
    when a model or text outside the cache is not found, or the optimizer needs a forget term that
    the method lacks.

    Args:
        parts: the built parts of the configuration.
        config: the configuration as plain values.
        content: digests and commits of what is outside the cache.
    """
    return _Planner(parts, config, content).plan()


class _Planner:
    """Pins every part once; each method creates stages of one kind."""

    def __init__(self, parts: Parts, config: Config, content: ContentKey) -> None:
        self._config = config
        self._weights, self._seed = config["trainer"]["weights"], config["seed"]
        self._export = asked_export(parts.export)
        names = ("dataset", "model", "method", "optimizer", "trainer", "finetune", "quant")
        for name in (*names, "no_quantizer"):
            setattr(self, name, pin(getattr(parts, name), content))
        given = isinstance(self.quant.value, GivenModels)
        self._rule = self.quant.reading() if given else self.quant
        self.metrics = {name: pin(part, content) for name, part in parts.metrics.items()}

    dataset: Pinned
    model: Pinned
    method: Pinned
    optimizer: Pinned
    trainer: Pinned
    finetune: Pinned
    quant: Pinned
    no_quantizer: Pinned

    def plan(self) -> Plan:
        """Returns the graph, from the corpus to the record."""
        read, quant = corpora(self.dataset), self.quant
        given = isinstance(quant.value, GivenModels)
        corpus = read.whole
        base, models = self._models(read)
        unlearn = models["unlearned"]
        calibration = calibration_stage(quant, corpus, base)
        kept = quantized_models(
            models, quant, self._weights, calibration, export=self._export is not False
        )
        inputs = {"corpus": corpus, **models}
        inputs["unlearn"] = inputs.pop("unlearned")
        inputs |= {name: unlearn.inputs[name] for name in ("saliency",) if name in unlearn.inputs}
        inputs |= self._explanations(models, kept)
        inputs |= export_stages(quant, self._export, unlearn, kept["unlearned"])
        for who, model in models.items():
            inputs[f"{who}.full"] = self._evaluate(model, corpus, self.no_quantizer)
            if not isinstance(quant.value, FullPrecision) and (not given or kept[who]):
                inputs[f"{who}.quantized"] = self._evaluate(model, corpus, self._rule, kept[who])
        figures = {
            name: self._config["eval"][name] for name in ("memories", "recovery", "auc_retrain")
        }
        record = stage("record", "unlearn_lab.record.record_stage:build", figures, inputs)
        return Plan(
            corpora=read, base=base, calibration=calibration, unlearn=unlearn, record=record
        )

    def _models(self, read: Corpora) -> tuple[Stage, dict[str, Stage]]:
        """Returns the base, and by role the models whose scores are compared: three, or two.

        Without a retrain control there is no `retrain`.
        """
        corpus, model = read.whole, self.model.value
        base = stage(
            "base",
            "unlearn_lab.models.import_stage:build_base",
            {"model": self.model.node, "seed": self._seed},
            {"corpus": corpus},
            parts=[self.model],
        )
        alone = not _finetunes(model) and model.retrain is None
        controls = {
            who: self._known(who, base, corpus)
            for who in (("target",) if alone else ("target", "retrain"))
        }
        scores = None if alone else self._evaluate(controls["retrain"], corpus, self.no_quantizer)
        unlearned = controls["target"]
        if isinstance(self.method.value, FinishedUnlearning):
            return base, {"unlearned": self._given(unlearned, corpus), **controls}
        for step in read.steps:
            unlearned = self._unlearn(unlearned, step, scores)
        return base, {"unlearned": unlearned, **controls}

    def _known(self, who: str, base: Stage, corpus: Stage) -> Stage:
        """Returns the stage of the target or control: fine-tuned from the base, or imported."""
        if _finetunes(self.model.value):
            learn = ["forget", "retain"] if who == "target" else ["retain"]
            return stage(
                who,
                "unlearn_lab.unlearn.training.train_stage:build_finetuned",
                {"finetune": self.finetune.node, "learn": learn, "seed": self._seed},
                {"base": base, "corpus": corpus},
                parts=[self.finetune],
            )
        node, path = self.model.node, "path" if who == "target" else "retrain"
        params = {
            "path": node[path],
            "revision": node["revision" if who == "target" else "retrain_revision"],
            **{
                name: node[name]
                for name in ("tokenizer", "tokenizer_revision", "trust_remote_code")
            },
        }
        read = self.model.reading(path, "tokenizer")
        return stage(who, "unlearn_lab.models.import_stage:build_imported", params, parts=[read])

    def _given(self, target: Stage, corpus: Stage) -> Stage:
        """Returns the stage of a model that was unlearned elsewhere."""
        node = self.method.node
        params = {name: node[name] for name in ("path", "revision", "tokenizer")}
        params |= {
            "merge": self._weights if node["merge"] == "auto" else node["merge"],
            "trust_remote_code": self.model.node["trust_remote_code"],
        }
        return stage(
            "unlearn",
            "unlearn_lab.models.given_stage:build",
            params,
            {"target": target, "corpus": corpus},
            parts=[self.method],
        )

    def _unlearn(self, target: Stage, corpus: Stage, retrain_scores: Stage | None) -> Stage:
        inputs = {"target": target, "corpus": corpus}
        stop = self.trainer.inner["stop"].value
        if isinstance(stop, NeedsControlScores) and stop.needs_metrics:
            if retrain_scores is None:
                raise ValueError(
                    "trainer.stop: this rule compares with the retrain control, and there is none; "
                    "give model.retrain, or use trainer/stop=fixed"
                )
            inputs["retrain_scores"] = retrain_scores
        if isinstance(self.optimizer.value, NeedsSaliency):
            inputs["saliency"] = self._saliency(self.optimizer.value.saliency, target, corpus)
        params = {name: getattr(self, name).node for name in ("method", "optimizer", "trainer")}
        return stage(
            "unlearn",
            "unlearn_lab.unlearn.training.train_stage:build_unlearned",
            {**params, "seed": self._seed},
            inputs,
            parts=[self.method, self.optimizer, self.trainer],
        )

    def _saliency(self, scores: Mapping[str, object], target: Stage, corpus: Stage) -> Stage:
        """Returns the stage of saliency scores; the percentile to mask by is not in its key."""
        forget = self.method.inner.get("forget")
        if forget is None:
            raise ValueError("optimizer: SURE needs a method with a forget term, method.forget")
        trainer = self.trainer.node
        settings = ("arithmetic", "batch_size", "max_length", "chunking", "trainable")
        params = {
            "forget": forget.node,
            "weights": self._weights,
            **{name: trainer[name] for name in settings},
            **scores,
            "seed": self._seed,
        }
        return stage(
            "saliency",
            "unlearn_lab.unlearn.optimizers.saliency_stage:build",
            params,
            {"target": target, "corpus": corpus},
            parts=[forget],
        )

    def _explanations(
        self, models: Mapping[str, Stage], kept: Mapping[str, Stage | None]
    ) -> dict[str, Stage]:
        """Returns stages that measure changed weights: under the quantizer, at several widths."""
        calibrated = isinstance(self.quant.value, NeedsCalibration)
        stored = {
            f"{who}.quantized": model
            for who in ("target", "unlearned")
            if calibrated and (model := kept[who])
        }
        widths = {"bits": self._config["eval"]["bits"]}
        return {
            "codes": self._codes("build", {"quant": self._rule.node}, models, stored, self._rule),
            "widths": self._codes("build_widths", widths, models, {}, None),
        }

    def _codes(
        self,
        builder: str,
        further: Config,
        models: Mapping[str, Stage],
        stored: Mapping[str, Stage],
        quant: Pinned | None,
    ) -> Stage:
        """Returns a stage that measures changed weights under the quantizers in `further`."""
        params = {name: self.trainer.node.get(name) for name in ("weights", "rounding")}
        params |= {"lr": self.optimizer.node["lr"], **further}
        if self.trainer.node.get("adapter") is not None:
            params["merged"] = True
        return stage(
            "codes" if quant is not None else "widths",
            f"unlearn_lab.evaluate.codes_stage:{builder}",
            params,
            {who: models[who] for who in ("target", "unlearned")} | dict(stored),
            parts=[] if quant is None else [quant],
        )

    def _evaluate(
        self, model: Stage, corpus: Stage, quant: Pinned, quantized: Stage | None = None
    ) -> Stage:
        """Returns the stage of a model's scores; `batch_tokens` is in its key where it matters."""
        params: dict[str, Any] = {
            "metrics": {name: metric.node for name, metric in self.metrics.items()},
            "quant": quant.node,
            "weights": self._weights,
            "arithmetic": self._config["eval"]["arithmetic"],
        }
        if isinstance(quant.value, BatchDependent):
            params["batch_tokens"] = self._config["runtime"]["batch_tokens"]
        inputs = {"model": model, "corpus": corpus}
        if quantized is not None:
            inputs["quantized"] = quantized
        return stage(
            "evaluate",
            "unlearn_lab.evaluate.evaluate_stage:build",
            params,
            inputs,
            parts=[*self.metrics.values(), quant],
        )


def _finetunes(model: object) -> bool:
    """Whether target and control are trained from this model."""
    return not isinstance(model, FinishedModel) or model.finetune
