"""Forecasts memory and time of scoring models that are given, before anything is scored."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from unlearn_lab.config.build import Refused
from unlearn_lab.config.once import OncePerProcess
from unlearn_lab.config.settings import Runtime
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.answer import encode_requests
from unlearn_lab.evaluate.metric import Metric, missing_metrics
from unlearn_lab.execute.parts import Parts
from unlearn_lab.execute.preflight_memory import RESERVE, format_gb
from unlearn_lab.models.device import device_of
from unlearn_lab.models.load import DTYPES
from unlearn_lab.plan.job_graph import Plan
from unlearn_lab.unlearn.training.forecast import available_bytes

_log = logging.getLogger(__name__)
_log.addFilter(OncePerProcess())
_SIZE, _ROUNDS = 1024, 8


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one evaluation of a model costs.

    Attributes:
        parameters: number of weights.
        weight_bytes: memory of the weights, all of them held once.
        batch_bytes: memory of a batch: keys, values and logits.
        read: tokens of prompts and texts.
        steps: batches of new tokens, each of which reads all weights.
        written: new tokens at most.
    """

    parameters: int
    weight_bytes: int
    batch_bytes: int
    read: int
    steps: int
    written: int

    @property
    def memory_bytes(self) -> int:
        """Peak of the process beside what it holds anyway.

        A quantizer that rounds in place writes every weight once; the unquantized weights are
        mapped from their file, and their pages can be dropped.
        """
        return self.weight_bytes + self.batch_bytes

    def seconds(self, products: float, bandwidth: float) -> float:
        """Returns the time on a device of so many products and bytes per second."""
        computed = 2 * self.parameters * (self.read + self.written) / products
        return max(computed, self.steps * self.weight_bytes / bandwidth)


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
    seconds = count * work.seconds(
        _products(device, DTYPES[holding.arithmetic]), _bandwidth(device)
    )
    needed = work.memory_bytes
    _log.info(
        "scoring: %s models of %.2g billion weights, each %d tokens read and at most %d written: "
        "about %s of memory, and %s (rough)",
        count,
        work.parameters / 1e9,
        work.read,
        work.written,
        format_gb(needed),
        f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s",
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
    lengths = [len(ids) for ids in prompts.values()]
    new = [request.num_tokens for request in prompts]
    tokens = sum(lengths) + sum(new)
    longest = max(new, default=0)
    batches = -(-tokens // runtime.batch_tokens)
    config = skeleton.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = DTYPES[weights].itemsize
    in_batch = min(runtime.batch_tokens, max(tokens, 1))
    return Work(
        parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
        weight_bytes=sum(parameter.numel() for parameter in skeleton.parameters()) * size,
        batch_bytes=in_batch * 2 * config.num_hidden_layers * heads * width * size,
        read=sum(lengths) + sum(len(text) for text in texts.values()),
        steps=batches * longest,
        written=sum(new),
    )


def _products(device: torch.device, dtype: torch.dtype) -> float:
    """Measures multiplications and additions per second of a product of matrices."""
    left, right = (torch.ones(_SIZE, _SIZE, device=device, dtype=dtype) for _ in range(2))
    return 2 * _SIZE**3 / _time(lambda: left @ right, device)


def _bandwidth(device: torch.device) -> float:
    """Measures bytes read per second."""
    values = torch.ones(2**24, device=device)
    return values.nbytes / _time(values.sum, device)


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
