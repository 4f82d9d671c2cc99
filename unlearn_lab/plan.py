"""Turns a resolved configuration into the graph of stages whose leaf is one record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_lab.graph.content import ContentKey
from unlearn_lab.graph.stage import Stage

Config = Mapping[str, Any]

VERSIONS = {
    "corpus": 1,
    "base": 1,
    "target": 1,
    "retrain": 1,
    "saliency": 1,
    "unlearn": 2,
    "evaluate": 1,
    "codes": 3,
    "widths": 2,
    "record": 3,
}
"""Raised whenever a stage's builder changes its meaning: no old artifact is taken for a new one."""

NO_QUANTIZER = {"_target_": "unlearn_lab.quantize.none.NoQuantizer"}
_FIXED_EPOCHS = "unlearn_lab.unlearn.stop.FixedEpochs"
_HUB_MODEL = "unlearn_lab.models.hub.HubModel"
_SURE = "unlearn_lab.unlearn.sure.SURE"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages of one leaf; `record` is the leaf, the others are what it is made from."""

    corpus: Stage
    base: Stage
    unlearn: Stage
    record: Stage


def plan(config: Config, content: ContentKey) -> Plan:
    """The graph of one job.

    Its stages: corpus, base, target, retrain, saliency (where the optimizer masks by it), unlearn,
    six evaluations (three without a quantizer), codes, widths, record. `config` holds plain values.
    Raises `ValueError` when a model outside the cache cannot be found, or the optimizer wants a
    forget term that the method does not have.
    """
    corpus = _stage("corpus", "unlearn_lab.data.stage:build", {"dataset": config["dataset"]})
    model, pins = _pinned(config["model"], content)
    base = _stage(
        "base",
        "unlearn_lab.models.stage:build_base",
        {"model": model, "content": pins, "seed": config["seed"]},
        {"corpus": corpus},
    )
    target, retrain = (
        _known(who, config, (model, pins), base, corpus) for who in ("target", "retrain")
    )
    retrain_scores = _evaluate(retrain, corpus, config, NO_QUANTIZER)
    unlearn = _unlearn(config, target, corpus, retrain_scores)
    models = {"unlearned": unlearn, "target": target, "retrain": retrain}
    inputs = {
        "corpus": corpus,
        "target": target,
        "retrain": retrain,
        "unlearn": unlearn,
        "codes": _codes("codes", "build", config, models, {"quant": config["quant"]}),
        "widths": _codes(
            "widths", "build_widths", config, models, {"bits": config["eval"]["bits"]}
        ),
    }
    inputs |= {name: unlearn.inputs[name] for name in ("saliency",) if name in unlearn.inputs}
    for precision, quantizer in (("full", NO_QUANTIZER), ("quantized", config["quant"])):
        if precision == "full" or quantizer != NO_QUANTIZER:
            for who, stage in models.items():
                inputs[f"{who}.{precision}"] = _evaluate(stage, corpus, config, quantizer)
    record = _stage(
        "record",
        "unlearn_lab.report.record:build",
        {"recovery": config["eval"]["recovery"]},
        inputs,
    )
    return Plan(corpus=corpus, base=base, unlearn=unlearn, record=record)


def _pinned(model: Config, content: ContentKey) -> tuple[dict[str, Any], dict[str, str | None]]:
    """The model node with hub revisions replaced by commits, and the digests of local folders."""
    pinned, digests = dict(model), dict[str, str | None]()
    if model["_target_"] == _HUB_MODEL:
        for path, revision in (("path", "revision"), ("retrain", "retrain_revision")):
            if model[path] is not None:
                pin = content.of_model(model[path], model[revision])
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
        params = {"finetune": config["trainer"]["finetune"], "learn": learn, "seed": config["seed"]}
        return _stage(
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
        "trust_remote_code": model["trust_remote_code"],
    }
    return _stage(who, "unlearn_lab.models.stage:build_imported", params)


def _unlearn(config: Config, target: Stage, corpus: Stage, retrain_scores: Stage) -> Stage:
    trainer = {name: value for name, value in config["trainer"].items() if name != "finetune"}
    inputs = {"target": target, "corpus": corpus}
    if trainer["stop"]["_target_"] != _FIXED_EPOCHS:
        inputs["retrain_scores"] = retrain_scores
    if config["optimizer"]["_target_"] == _SURE:
        inputs["saliency"] = _saliency(config, target, corpus)
    params = {
        "method": config["method"],
        "optimizer": config["optimizer"],
        "trainer": trainer,
        "seed": config["seed"],
    }
    return _stage("unlearn", "unlearn_lab.unlearn.train:build_unlearned", params, inputs)


def _saliency(config: Config, target: Stage, corpus: Stage) -> Stage:
    """What a mask is chosen from; the percentile that chooses is left to the training."""
    if "forget" not in config["method"]:
        raise ValueError("optimizer: SURE needs a method with a forget term, method.forget")
    trainer, optimizer = config["trainer"], config["optimizer"]
    params = {
        "forget": config["method"]["forget"],
        "weights": _held(trainer["weights"]),
        **{name: trainer[name] for name in ("batch_size", "max_length", "trainable")},
        **{name: optimizer[name] for name in ("granularity", "modules", "batches")},
        "seed": config["seed"],
    }
    return _stage(
        "saliency",
        "unlearn_lab.unlearn.saliency_stage:build",
        params,
        {"target": target, "corpus": corpus},
    )


def _evaluate(model: Stage, corpus: Stage, config: Config, quantizer: Config) -> Stage:
    params = {
        "metrics": config["eval"]["metrics"],
        "quant": quantizer,
        "weights": _held(config["trainer"]["weights"]),
    }
    return _stage(
        "evaluate", "unlearn_lab.evaluate.stage:build", params, {"model": model, "corpus": corpus}
    )


def _codes(
    name: str, builder: str, config: Config, models: Mapping[str, Stage], further: Config
) -> Stage:
    """What unlearning did to the weights, seen through quantizers that `further` names."""
    params = {"weights": config["trainer"]["weights"], "lr": config["optimizer"]["lr"], **further}
    inputs = {who: models[who] for who in ("target", "unlearned")}
    return _stage(name, f"unlearn_lab.evaluate.codes_stage:{builder}", params, inputs)


def _held(weights: str) -> str:
    """The dtype in which weights are held, whatever rule updates them."""
    return weights.split("_")[0]


def _stage(
    name: str, builder: str, params: Config, inputs: Mapping[str, Stage] | None = None
) -> Stage:
    return Stage(
        name=name, builder=builder, version=VERSIONS[name], params=params, inputs=inputs or {}
    )
