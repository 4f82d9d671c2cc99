"""Turns a resolved configuration into the graph of stages whose leaf is one record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.stage import Stage
from unlearn_lab.libraries import installed
from unlearn_lab.plan_corpus import Corpora, corpora
from unlearn_lab.plan_metrics import pinned_metrics
from unlearn_lab.plan_quantize import (
    NO_QUANTIZER,
    PREQUANTIZED,
    asked_export,
    batching,
    calibration_stage,
    export_stages,
    given_model,
    libraries,
    pin_texts,
    quantized_model,
)
from unlearn_lab.stages import Config, stage

_FIXED_EPOCHS = "unlearn_lab.unlearn.stop.FixedEpochs"
_HUB_MODEL = "unlearn_lab.models.hub.HubModel"
_SURE = "unlearn_lab.unlearn.sure.SURE"
_PLACES = (
    ("path", "revision"),
    ("retrain", "retrain_revision"),
    ("tokenizer", "tokenizer_revision"),
)
"""What a hub model's node names, and at which revision."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages of one leaf; `record` is the leaf, the others are what it is made from."""

    corpora: Corpora
    base: Stage
    calibration: Stage | None
    unlearn: Stage
    record: Stage

    @property
    def finetunes(self) -> bool:
        """Whether target and control are trained here, from the base."""
        return "base" in self.record.inputs["target"].inputs


def plan(config: Config, content: ContentKey) -> Plan:
    """The graph of one job.

    Its stages: corpus, base, target, retrain (where there is a control), saliency (where the
    optimizer masks by it), unlearn (one for each fold of sustainability, each from the previous),
    calibration and three quantized models (where the quantizer's result is kept), six evaluations
    (three without a quantizer), codes, widths, export (where another format is asked for), record.
    `config` holds plain values. Raises `ValueError` when a model or text outside the cache cannot
    be found, or the optimizer wants a forget term that the method does not have.
    """
    read = corpora(config["dataset"], content)
    measured = pinned_metrics(config["eval"]["metrics"], content)
    corpus = read.whole
    base, models = _models(config, read, content, measured)
    unlearn = models["unlearned"]
    quant, digest = pin_texts(config["quant"], content)
    export, weights = asked_export(config["export"]), config["trainer"]["weights"]
    calibration = calibration_stage(quant, digest, corpus, base)
    kept = {
        who: given_model(who, quant, weights, content)
        if quant["_target_"] == PREQUANTIZED
        else quantized_model(model, quant, weights, calibration, export=export is not False)
        for who, model in models.items()
    }
    inputs = {"corpus": corpus, **models}
    inputs["unlearn"] = inputs.pop("unlearned")
    inputs |= {name: unlearn.inputs[name] for name in ("saliency",) if name in unlearn.inputs}
    inputs |= _explanations(config, quant, models, kept)
    inputs |= export_stages(quant, export, unlearn, kept["unlearned"])
    for who, model in models.items():
        inputs[f"{who}.full"] = _evaluate(model, corpus, config, measured, NO_QUANTIZER)
        if quant != NO_QUANTIZER and (quant["_target_"] != PREQUANTIZED or kept[who]):
            inputs[f"{who}.quantized"] = _evaluate(
                model, corpus, config, measured, quant, kept[who]
            )
    figures = {name: config["eval"][name] for name in ("recovery", "auc_retrain")}
    record = stage("record", "unlearn_lab.report.record:build", figures, inputs)
    return Plan(corpora=read, base=base, calibration=calibration, unlearn=unlearn, record=record)


def _models(
    config: Config, read: Corpora, content: ContentKey, measured: Config
) -> tuple[Stage, dict[str, Stage]]:
    """Where training starts from, and the models whose scores are compared: three, or two.

    Without a retrain control there is no `retrain`.
    """
    corpus = read.whole
    source, pins = _pinned(config["model"], content)
    base = stage(
        "base",
        "unlearn_lab.models.stage:build_base",
        {"model": source, "content": pins, "seed": config["seed"]},
        {"corpus": corpus},
    )
    alone = not source.get("finetune", True) and source["retrain"] is None
    controls = {
        who: _known(who, config, (source, pins), base, corpus)
        for who in (("target",) if alone else ("target", "retrain"))
    }
    scores = (
        None if alone else _evaluate(controls["retrain"], corpus, config, measured, NO_QUANTIZER)
    )
    unlearned = controls["target"]
    for step in read.steps:
        unlearned = _unlearn(config, unlearned, step, scores)
    return base, {"unlearned": unlearned, **controls}


def _pinned(model: Config, content: ContentKey) -> tuple[dict[str, Any], dict[str, str | None]]:
    """The model node with hub revisions replaced by commits, and the digests of local folders."""
    pinned, digests = dict(model), dict[str, str | None]()
    if model["_target_"] == _HUB_MODEL:
        for path, revision in _PLACES:
            if model[path] is not None:
                pin = content.of_model(model[path], model[revision], f"model.{path}")
                pinned |= {path: pin.path, revision: pin.revision}
                digests[path] = pin.digest
    return pinned, digests


def _known(
    who: str, config: Config, source: tuple[Config, Config], base: Stage, corpus: Stage
) -> Stage:
    """The target or the retrain control: fine-tuned from the base, or imported."""
    model, pins = source
    if model.get("finetune", True):
        learn = ["forget", "retain"] if who == "target" else ["retain"]
        params = {"finetune": config["finetune"], "learn": learn, "seed": config["seed"]}
        return stage(
            who,
            "unlearn_lab.unlearn.train:build_finetuned",
            params,
            {"base": base, "corpus": corpus},
        )
    path, revision = ("path", "revision") if who == "target" else ("retrain", "retrain_revision")
    params = {
        "path": model[path],
        "revision": model[revision],
        "content": pins[path],
        "tokenizer": model["tokenizer"],
        "tokenizer_revision": model["tokenizer_revision"],
        "tokenizer_content": pins.get("tokenizer"),
        "trust_remote_code": model["trust_remote_code"],
    }
    return stage(who, "unlearn_lab.models.stage:build_imported", params)


def _unlearn(config: Config, target: Stage, corpus: Stage, retrain_scores: Stage | None) -> Stage:
    trainer = config["trainer"]
    inputs = {"target": target, "corpus": corpus}
    if trainer["stop"]["_target_"] != _FIXED_EPOCHS:
        if retrain_scores is None:
            raise ValueError(
                "trainer.stop: this rule compares with the retrain control, and there is none; "
                "give model.retrain, or use trainer/stop=fixed"
            )
        inputs["retrain_scores"] = retrain_scores
    if config["optimizer"]["_target_"] == _SURE:
        inputs["saliency"] = _saliency(config, target, corpus)
    params = {
        "method": config["method"],
        "optimizer": config["optimizer"],
        "trainer": trainer,
        "seed": config["seed"],
        **({} if trainer.get("adapter") is None else {"libraries": [installed("peft")]}),
    }
    return stage("unlearn", "unlearn_lab.unlearn.train:build_unlearned", params, inputs)


def _saliency(config: Config, target: Stage, corpus: Stage) -> Stage:
    """What a mask is chosen from; the percentile that chooses is left to the training."""
    if "forget" not in config["method"]:
        raise ValueError("optimizer: SURE needs a method with a forget term, method.forget")
    trainer, optimizer = config["trainer"], config["optimizer"]
    params = {
        "forget": config["method"]["forget"],
        "weights": trainer["weights"],
        **{name: trainer[name] for name in ("batch_size", "max_length", "chunking", "trainable")},
        **{name: optimizer[name] for name in ("granularity", "modules", "batches")},
        "seed": config["seed"],
    }
    return stage(
        "saliency",
        "unlearn_lab.unlearn.saliency_stage:build",
        params,
        {"target": target, "corpus": corpus},
    )


def _explanations(
    config: Config,
    quant: Config,
    models: Mapping[str, Stage],
    kept: Mapping[str, Stage | None],
) -> dict[str, Stage]:
    """What unlearning did to the weights: under the quantizer, and at several widths."""
    stored = {
        f"{who}.quantized": model
        for who in ("target", "unlearned")
        if "calibration" in quant and (model := kept[who])
    }
    seen = {"quant": quant, **libraries(quant)}
    return {
        "codes": _codes("codes", "build", config, models, seen, stored),
        "widths": _codes(
            "widths", "build_widths", config, models, {"bits": config["eval"]["bits"]}
        ),
    }


def _evaluate(
    model: Stage,
    corpus: Stage,
    config: Config,
    measured: Config,
    quantizer: Config,
    quantized: Stage | None = None,
) -> Stage:
    params = {
        **measured,
        "quant": quantizer,
        "weights": config["trainer"]["weights"],
        **libraries(quantizer),
        **batching(quantizer, config["runtime"]),
    }
    inputs = {"model": model, "corpus": corpus}
    if quantized is not None:
        inputs["quantized"] = quantized
    return stage("evaluate", "unlearn_lab.evaluate.stage:build", params, inputs)


def _codes(
    name: str,
    builder: str,
    config: Config,
    models: Mapping[str, Stage],
    further: Config,
    stored: Mapping[str, Stage] | None = None,
) -> Stage:
    """What unlearning did to the weights, seen through quantizers that `further` names."""
    trainer = config["trainer"]
    params = {name: trainer[name] for name in ("weights", "rounding")}
    params |= {"lr": config["optimizer"]["lr"], **further}
    if trainer.get("adapter") is not None:
        params["merged"] = True
    inputs = {who: models[who] for who in ("target", "unlearned")} | dict(stored or {})
    return stage(name, f"unlearn_lab.evaluate.codes_stage:{builder}", params, inputs)
