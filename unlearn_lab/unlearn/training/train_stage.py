"""Builds the training stages: target, retrain control and unlearned model."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.config.spelling import in_one_word
from unlearn_lab.data.batch import Sequences, ids_of, pad, to_device
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.data.template import is_chat
from unlearn_lab.data.training import training_sequences
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.arithmetic import Arithmetic, training_arithmetic
from unlearn_lab.models.causal_lm import require_plain_head
from unlearn_lab.models.device import device_of, peak_gb, processor, require_bfloat16, reset_peak
from unlearn_lab.models.linears import choose_trainable, trained_parameters
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.models.recompute import recomputed_blocks
from unlearn_lab.models.tokenizer import pad_id
from unlearn_lab.unlearn.objectives.forward import Reference, remember_reference
from unlearn_lab.unlearn.objectives.objective import ForgetTerm, Learning, Objective
from unlearn_lab.unlearn.optimizers import saliency_stage
from unlearn_lab.unlearn.optimizers.update import Prepared, Training, update_rule
from unlearn_lab.unlearn.ranks import is_first, require_equal
from unlearn_lab.unlearn.training.adapter import Injected
from unlearn_lab.unlearn.training.fit import Batches, Budget, fit
from unlearn_lab.unlearn.training.module import UnlearnModule, cosine_with_warmup
from unlearn_lab.unlearn.training.scoring import Observed, with_scores
from unlearn_lab.unlearn.training.settings import FineTuning, UnlearningTraining, Weights
from unlearn_lab.unlearn.training.stop import StopContext


def build_finetuned(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the target (`learn: [forget, retain]`) or the retrain control (`learn: [retain]`).

    Args:
        params: the stage's parameters `finetune`, `learn` and `seed`.
        inputs: the artifacts `base` and `corpus`.
        work: the folder to write to.
        runtime: devices, threads, checkpoint interval.

    Returns:
        The facts: what ran, as `fit` returns it, dtype, memory and number of parameters.
    """
    settings = make(params["finetune"], FineTuning, "finetune")
    require_bfloat16(settings.arithmetic, device_of(runtime.accelerator))
    model, tokenizer = _start(inputs["base"].path, settings.weights, work)
    corpus = read_corpus(inputs["corpus"])
    optimizer = functools.partial(
        torch.optim.AdamW, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
    )
    schedule = cosine_with_warmup(settings.steps, settings.warmup_steps, settings.floor)
    sequences = training_sequences(
        corpus, params["learn"], tokenizer, settings.max_length, settings.chunking
    )
    with training_arithmetic(model, settings.arithmetic), recomputed_blocks(model, runtime):
        _require_plain_head(model, sequences, pad_id(tokenizer))
        facts = fit(
            UnlearnModule(
                model.train(),
                Learning(),
                None,
                lambda: optimizer(model.parameters()),
                schedule,
                micro_batch=runtime.micro_batch,
            ),
            {"learn": sequences},
            pad_id=pad_id(tokenizer),
            batches=Batches(size=settings.batch_size, pairing="reshuffled", seed=params["seed"]),
            budget=Budget(steps=settings.steps, epochs=None, clip_norm=settings.clip_norm),
            should_stop=lambda epoch: None,
            work=work,
            runtime=runtime,
        )
    return _finish(model, work, facts, settings.weights) | _machine(runtime, settings.arithmetic)


def build_unlearned(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the unlearned model from the target.

    Args:
        params: the stage's parameters `method`, `optimizer`, `trainer` and `seed`.
        inputs: the artifacts `target` and `corpus`; `saliency` and `retrain_scores` if needed.
        work: the folder to write to.
        runtime: devices, threads, checkpoint interval.

    Returns:
        The facts: as of `build_finetuned`, and those of the update rule and the adapter.
    """
    settings = make(params["trainer"], UnlearningTraining, "trainer")
    require_bfloat16(settings.arithmetic, device_of(runtime.accelerator))
    objective = make(params["method"], Objective, "method")
    model, tokenizer = _start(inputs["target"].path, settings.weights, work)
    adapters = _choose_trained(model, settings, params["seed"])
    corpus = read_corpus(inputs["corpus"])
    splits = {
        role: training_sequences(corpus, [role], tokenizer, settings.max_length, settings.chunking)
        for role in objective.roles
    }
    padding = pad_id(tokenizer)
    torch.nn.Module.to(model, device_of(runtime.accelerator))
    context = StopContext(
        model=model,
        tokenizer=tokenizer,
        inputs=inputs,
        runtime=runtime,
        arithmetic=settings.arithmetic,
    )
    with training_arithmetic(model, settings.arithmetic), recomputed_blocks(model, runtime):
        _require_plain_head(model, splits["forget"], padding)
        reference = remember_reference(
            model,
            splits,
            padding,
            likelihood_of=objective.likelihood_of,
            distribution_of=objective.distribution_of,
            batch_size=runtime.micro_batch or settings.batch_size,
            folder=work,
        )
        prepared = _prepare(
            params, inputs, model, splits["forget"], reference, padding, work, runtime.micro_batch
        )
        facts = fit(
            UnlearnModule(
                model.train(),
                objective,
                reference,
                prepared.make,
                None,
                prepared.callbacks,
                runtime.micro_batch,
            ),
            splits,
            pad_id=padding,
            batches=Batches(
                size=settings.batch_size, pairing=settings.pairing, seed=params["seed"]
            ),
            budget=Budget(steps=None, epochs=settings.epochs, clip_norm=settings.clip_norm),
            should_stop=with_scores(
                Observed(context=context, adapters=adapters), settings.stop.watch(context), work
            ),
            work=work,
            runtime=runtime,
        )
    facts |= {**prepared.facts, **({} if adapters is None else adapters.merge())}
    if corpus.forget_pairs or corpus.forget_questions:
        facts["template"] = "chat" if is_chat(corpus.template, tokenizer) else "plain"
    weights = in_one_word(settings.weights, settings.rounding)
    return _finish(model, work, facts, weights) | _machine(runtime, settings.arithmetic)


def _choose_trained(
    model: PreTrainedModel, settings: UnlearningTraining, seed: int
) -> Injected | None:
    """Freezes parameters that are not trained; returns the injected adapters, if any."""
    if settings.adapter is not None:
        return settings.adapter.inject(model, seed)
    choose_trainable(model, settings.trainable)
    return None


def _prepare(
    params: Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    model: PreTrainedModel,
    forget: Sequences,
    reference: Reference | None,
    padding: int,
    work: Path,
    micro_batch: int | None,
) -> Prepared:
    """Prepares the update rule of an unlearning."""
    rule = update_rule(params["optimizer"])
    trainer = params["trainer"]

    def losses(num_batches: int | None) -> Iterator[Tensor]:
        term = make(params["method"]["forget"], ForgetTerm, "method.forget")
        batches = saliency_stage.first_epoch(
            len(forget), trainer["batch_size"], params["seed"], num_batches
        )
        return saliency_stage.forget_losses(
            model, term, forget, reference, padding, batches, micro_batch
        )

    return rule.prepare(
        Training(
            model=model,
            parameters=trained_parameters(model),
            scores=saliency_stage.read_saliency(inputs["saliency"])
            if "saliency" in inputs
            else None,
            forget_losses=losses,
            rounding_seed=params["seed"] if trainer["rounding"] == "stochastic" else None,
            work=work,
        )
    )


def _start(
    folder: Path, weights: Weights, work: Path
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads model and tokenizer, and saves the tokenizer to `work` as part of the artifact."""
    tokenizer = load_tokenizer(folder)
    if is_first():
        tokenizer.save_pretrained(work)
    reset_peak()
    return load_model(folder, weights).eval(), tokenizer


def _require_plain_head(model: PreTrainedModel, sequences: Sequences, padding: int) -> None:
    """Checks the head on the first 64 tokens of two texts (see `require_plain_head`)."""
    beginnings = [ids_of(sequence)[:64] for sequence in sequences[:2]]
    require_plain_head(
        model, to_device(pad(beginnings, range(len(beginnings)), padding), model.device)
    )


def _finish(
    model: PreTrainedModel, work: Path, facts: Mapping[str, object], weights: str
) -> dict[str, object]:
    """Saves the trained model; raises `ValueError` for weights not finite or equal on all ranks."""
    require_equal(dict(model.named_parameters()))
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(
                f"{name} holds NaN or infinite weights after training; lower the learning rate"
            )
    if is_first():
        model.save_pretrained(work)
    return {
        **facts,
        "weights": weights,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _machine(runtime: Runtime, arithmetic: Arithmetic) -> dict[str, object]:
    """Returns the facts on the hardware: dtype of the arithmetic, processor, peak memory in GB.

    On a CPU, the peak is that of the process, earlier stages included.
    """
    device = device_of(runtime.accelerator).type
    return {
        "arithmetic": arithmetic,
        "processor": processor(device),
        "peak_gb": peak_gb(device),
    }
