"""Builds the saliency stage: the forget gradient's norm for each unit of the target's weights."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn_lab.config.build import build as make
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.batch import PairedOrder, Sequences, pad, to_device
from unlearn_lab.data.stored import read_corpus
from unlearn_lab.data.training import training_sequences
from unlearn_lab.data.typed import PreTrainedModel
from unlearn_lab.graph.cache import Artifact
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.device import device_of, require_bfloat16
from unlearn_lab.models.linears import choose_trainable, trained_parameters
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.models.recompute import recomputed_blocks
from unlearn_lab.models.tokenizer import pad_id
from unlearn_lab.unlearn.objectives.forward import ModelForward, Reference, remember_reference
from unlearn_lab.unlearn.objectives.objective import ForgetTerm, Unlearning
from unlearn_lab.unlearn.optimizers.saliency import mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.units import layouts_of
from unlearn_lab.unlearn.ranks import parts

FILE = "saliency.safetensors"


def build(
    params: Mapping[str, Any], inputs: Mapping[str, Artifact], work: Path, runtime: Runtime
) -> dict[str, object]:
    """Builds the artifact `saliency.safetensors`: the score of every unit by parameter.

    The percentile is not used here: it belongs to the training that uses the scores.

    Args:
        params: the stage's parameters; `forget` configures the forget term.
        inputs: the artifacts `target` and `corpus`.
        work: the folder to write to.
        runtime: device, gradient checkpointing and micro-batches.

    Returns:
        The facts: numbers of units and batches, seconds for the gradient and for the scores.
    """
    require_bfloat16(params["arithmetic"], device_of(runtime.accelerator))
    term = make(params["forget"], ForgetTerm, "method.forget")
    model: PreTrainedModel = load_model(inputs["target"].path, params["weights"]).eval()
    tokenizer = load_tokenizer(inputs["target"].path)
    choose_trainable(model, params["trainable"])
    torch.nn.Module.to(model, device_of(runtime.accelerator))
    corpus = read_corpus(inputs["corpus"])
    sequences = training_sequences(
        corpus, ["forget"], tokenizer, params["max_length"], params["chunking"]
    )
    batches = first_epoch(len(sequences), params["batch_size"], params["seed"], params["batches"])
    padding, objective = pad_id(tokenizer), Unlearning(forget=term, retain=None)
    with training_arithmetic(model, params["arithmetic"]), recomputed_blocks(model, runtime):
        parameters = trained_parameters(model)
        layouts = layouts_of(model, parameters, params["granularity"], params["modules"])
        reference = remember_reference(
            model,
            {"forget": sequences},
            padding,
            likelihood_of=objective.likelihood_of,
            distribution_of=objective.distribution_of,
            batch_size=runtime.micro_batch or params["batch_size"],
            folder=work,
        )
        started = time.monotonic()
        losses = forget_losses(
            model, term, sequences, reference, padding, batches, runtime.micro_batch
        )
        gradient = mean_gradient({name: parameters[name] for name in layouts}, losses)
        differentiated = time.monotonic()
        scores = unit_scores(gradient, layouts)
    save_file(scores, work / FILE)
    return {
        "units": sum(part.numel() for part in scores.values()),
        "batches": len(batches),
        "seconds_gradient": round(differentiated - started, 3),
        "seconds_scores": round(time.monotonic() - differentiated, 3),
    }


def read_saliency(artifact: Artifact) -> dict[str, Tensor]:
    """Reads the score of every unit, by parameter."""
    return load_file(artifact.path / FILE)


def first_epoch(
    num_texts: int, batch_size: int, seed: int, num_batches: int | None
) -> list[tuple[int, ...]]:
    """Returns the forget batches of the training's first epoch, as indices of texts.

    Args:
        num_texts: sequences in the forget split.
        batch_size: sequences per batch.
        seed: the seed of the training.
        num_batches: number of batches, from the first; None for all.
    """
    order = [indices[0] for indices in PairedOrder([num_texts], seed, "reshuffled")]
    batches = [tuple(order[i : i + batch_size]) for i in range(0, num_texts, batch_size)]
    return batches[:num_batches]


def forget_losses(
    model: PreTrainedModel,
    term: ForgetTerm,
    sequences: Sequences,
    reference: Reference | None,
    padding: int,
    batches: Sequence[Sequence[int]],
    micro_batch: int | None = None,
) -> Iterator[Tensor]:
    """Yields losses whose mean gradient is that of the batches' forget losses.

    Without `micro_batch`, these are the losses of the batches; else of their parts, scaled. Each is
    computed at the model's weights when it is requested.

    Args:
        model: the model to differentiate.
        term: the forget loss.
        sequences: token ids of each text of the forget split.
        reference: outputs of the target; None if the term needs none.
        padding: the padding token.
        batches: indices of the texts of each batch.
        micro_batch: sequences per pass; None for whole batches.
    """
    count = sum(math.ceil(len(indices) / (micro_batch or len(indices))) for indices in batches)
    for indices in batches:
        tokens = pad([sequences[i] for i in indices], indices, padding)
        whole = {"forget": to_device(tokens, model.device)}
        for part in parts(whole, micro_batch):
            loss = term(ModelForward(model, reference), part["forget"])
            yield loss if count == len(batches) else loss * (count / len(batches))
