"""Forecasts memory and time of scoring models that are given, before anything is scored."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from unlearn_lab.config.build import Refused
from unlearn_lab.config.once import OncePerProcess
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.typed import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.answer import encode_requests
from unlearn_lab.evaluate.metric import Metric, missing_metrics
from unlearn_lab.execute.parts import Parts
from unlearn_lab.execute.preflight_memory import RESERVE, format_gb
from unlearn_lab.models.arithmetic import evaluation_arithmetic
from unlearn_lab.models.device import device_of
from unlearn_lab.models.given import Holding
from unlearn_lab.models.load import DTYPES
from unlearn_lab.plan.job_graph import Plan
from unlearn_lab.report.terminal.closing import format_seconds
from unlearn_lab.unlearn.training.forecast import available_bytes

_log = logging.getLogger(__name__)
_log.addFilter(OncePerProcess())
_READ, _ROUNDS = 512, 3


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one evaluation of a model costs.

    Attributes:
        parameters: number of weights.
        weight_bytes: memory of the weights, all of them held once.
        batch_bytes: memory of a batch: keys, values and logits.
        read: tokens of prompts and texts.
        steps: passes through the model that add a token to each sequence of a batch, at most.
        rows: sequences in such a batch.
    """

    parameters: int
    weight_bytes: int
    batch_bytes: int
    read: int
    steps: int
    rows: int

    @property
    def memory_bytes(self) -> int:
        """Peak of the process beside what it holds anyway.

        A quantizer that rounds in place writes every weight once; the unquantized weights are
        mapped from their file, and their pages can be dropped.
        """
        return self.weight_bytes + self.batch_bytes


def forecast_scoring(
    parts: Parts,
    plan: Plan,
    skeleton: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    runtime: Runtime,
) -> None:
    """Logs memory and time of a job's evaluations; raises `Refused` where memory does not suffice.

    Jobs that run elsewhere (`runtime.auto_arithmetic`) are not forecast.
    """
    available = available_bytes(runtime.accelerator)
    if runtime.auto_arithmetic is not None or available is None:
        return
    holding = parts.trainer.value
    work = measure_work(parts, skeleton, tokenizer, corpus, runtime, holding.weights)
    device = device_of(runtime.accelerator)
    count = sum(name.endswith((".full", ".quantized")) for name in plan.record.inputs)
    needed, seconds = work.memory_bytes, seconds_of(work, skeleton.config, holding, device)
    _log.info(
        "scoring: %s evaluations of %.2g billion weights: about %s of memory and at most about %s",
        count,
        work.parameters / 1e9,
        format_gb(needed),
        format_seconds(count * seconds),
    )
    if needed > RESERVE * available:
        half = "trainer.weights=bf16, " if holding.weights == "fp32" else ""
        fewer = "runtime.batch_tokens=2048, " if work.batch_bytes > work.weight_bytes / 4 else ""
        raise Refused(
            f"method=given: scoring needs about {format_gb(needed)} of memory, and "
            f"{format_gb(available)} are free; {half}{fewer}or a machine with more memory"
        )


def measure_work(
    parts: Parts,
    skeleton: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    runtime: Runtime,
    weights: str,
) -> Work:
    """Returns the work of one evaluation; arguments as in `forecast_scoring`."""
    missing = missing_metrics(parts.measured, corpus)
    requests = [
        request
        for name, metric in parts.measured.items()
        if name not in missing and isinstance(metric, Metric)
        for request in metric.requests(corpus)
    ]
    prompts, texts = encode_requests(skeleton, tokenizer, requests)
    lengths = [len(ids) + request.num_tokens for request, ids in prompts.items()]
    tokens = sum(lengths)
    batches = -(-tokens // runtime.batch_tokens)
    config = skeleton.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = DTYPES[weights].itemsize
    in_batch = min(runtime.batch_tokens, max(tokens, 1))
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    return Work(
        parameters=parameters,
        weight_bytes=parameters * size,
        batch_bytes=in_batch * 2 * config.num_hidden_layers * heads * width * size,
        read=sum(len(ids) for ids in prompts.values()) + sum(map(len, texts.values())),
        steps=batches * max((request.num_tokens for request in prompts), default=0),
        rows=-(-len(prompts) // max(batches, 1)),
    )


def seconds_of(
    work: Work, config: PretrainedConfig, holding: Holding, device: torch.device
) -> float:
    """Returns the seconds of one evaluation, from models of one and two layers without contents.

    The difference is a layer's time, the rest that of embedding and head.
    """
    times = [_times(shallow(config, layers), work, holding, device) for layers in (1, 2)]
    depth = config.get_text_config().num_hidden_layers
    read, step = (one + (depth - 1) * max(0, two - one) for one, two in zip(*times, strict=True))
    return read * work.read / _READ + step * work.steps


def shallow(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """Returns a copy of a configuration with fewer layers."""
    copied = copy.deepcopy(config)
    inner = copied.get_text_config()
    inner.num_hidden_layers = layers
    kinds = getattr(inner, "layer_types", None)
    if kinds is not None:
        inner.layer_types = [*kinds, *kinds][:layers]
    return copied


@torch.no_grad()
def _times(
    config: PretrainedConfig, work: Work, holding: Holding, device: torch.device
) -> tuple[float, float]:
    """Returns the seconds in which a model reads `_READ` tokens, and those of a step of a batch."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=DTYPES[holding.weights])
    model.to_empty(device=device)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.zero_()
    text = torch.zeros(1, _READ, dtype=torch.long, device=device)
    rows = torch.zeros(max(work.rows, 1), 1, dtype=torch.long, device=device)
    with evaluation_arithmetic(model.eval(), holding.arithmetic):
        read = _time(lambda: model(input_ids=text, use_cache=False), device)
        return read, _time(lambda: model(input_ids=rows, use_cache=False), device)


def _time(run: Callable[[], object], device: torch.device) -> float:
    """Returns the shortest of several runs, in seconds."""
    found = list[float]()
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return min(found)
