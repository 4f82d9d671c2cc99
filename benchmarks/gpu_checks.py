"""Compares what a device computes with what a processor computes, on a small model."""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from unlearn_lab.data.batch import pad, to_device
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.metric import Continue, LogLikelihood
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.linears import block_linears, trained_parameters
from unlearn_lab.quantize.bnb import BNB4, BNB8
from unlearn_lab.quantize.gguf import GGUF
from unlearn_lab.quantize.llmint8 import LLMInt8
from unlearn_lab.quantize.quantizer import CalibratedQuantizer, Quantizer
from unlearn_lab.quantize.rtn import RTN
from unlearn_lab.unlearn.objectives.forward import ModelForward
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.objectives.objective import Unlearning
from unlearn_lab.unlearn.objectives.retain import RetainNLL
from unlearn_lab.unlearn.optimizers.adamw_8bit import AdamW8bit
from unlearn_lab.unlearn.optimizers.saliency import choose, mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.units import layouts_of

GA_GDR = Unlearning(forget=GradientAscent(), retain=RetainNLL(weight=1.0))
ROUNDING: dict[str, Quantizer] = {
    "rtn4": RTN(bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax"),
    "fp4": BNB4(table="fp4", block_size=64),
    "nf4": BNB4(table="nf4", block_size=64),
    "int8": BNB8(),
    "gguf_q4_0": GGUF(format="q4_0"),
}
LLM_INT8 = LLMInt8(threshold=6.0)


@dataclass(frozen=True)
class Bench:
    """What the checks work on.

    Attributes:
        device: the device that is compared with the processor.
        model: a small model, float32, on the processor; copied by each check.
        tokenizer: its tokenizer.
        texts: texts to score and to train on.
        calibrated: quantizers with calibration, by name.
    """

    device: torch.device
    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerBase
    texts: list[str]
    calibrated: dict[str, CalibratedQuantizer]

    def pair(self, dtype: torch.dtype = torch.float32) -> tuple[LlamaForCausalLM, LlamaForCausalLM]:
        """Returns copies of the model on the processor and on the device."""
        here, there = copy.deepcopy(self.model), copy.deepcopy(self.model)
        return here.to(dtype), there.to(dtype).to(self.device)  # pyright: ignore[reportArgumentType]

    def batch(self, device: torch.device) -> dict[str, Any]:
        """Returns forget and retain sequences of the texts."""
        ids = [torch.tensor(self.tokenizer(text)["input_ids"]) for text in self.texts]
        half = len(ids) // 2
        splits = {"forget": ids[:half], "retain": ids[half:]}
        return {
            role: to_device(pad(rows, range(len(rows)), 0), device) for role, rows in splits.items()
        }


def small_model(vocabulary: int) -> LlamaForCausalLM:
    """Returns a random Llama that grouped quantizers accept."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.06,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def checks(bench: Bench) -> dict[str, Callable[[], str]]:
    """Returns the checks by name; each returns its figure, or raises what is wrong."""
    return {
        "evaluation, float32": lambda: evaluation(bench),
        "bfloat16 products": lambda: products(bench),
        "gradients, float32": lambda: gradients(bench, "fp32", 1e-3),
        "gradients, autocast": lambda: gradients(bench, "bf16", 0.1),
        "SURE's mask": lambda: saliency(bench),
        "8-bit AdamW": lambda: adamw_8bit(bench),
        **{name: lambda rule=rule: rounding(bench, rule) for name, rule in ROUNDING.items()},
        "llmint8": lambda: llmint8(bench),
        **{
            name: lambda rule=rule: calibrated(bench, rule)
            for name, rule in bench.calibrated.items()
        },
    }


def evaluation(bench: Bench) -> str:
    """Greedy texts and log-probabilities of both devices."""
    prompts = [Continue(text[: len(text) // 2], 24) for text in bench.texts]
    texts = [LogLikelihood(text, None) for text in bench.texts]
    here, there = (
        answer(model, bench.tokenizer, [*prompts, *texts], batch_tokens=4096)
        for model in bench.pair()
    )
    same = sum(here.text(one) == there.text(one) for one in prompts)
    worst = max(
        float((here.log_probabilities(one) - there.log_probabilities(one)).abs().max())
        for one in texts
    )
    require(same >= 0.8 * len(prompts), f"{same} of {len(prompts)} continuations are equal")
    require(worst < 1e-3, f"log-probabilities differ by {worst:.1e} nats")
    return (
        f"{same} of {len(prompts)} continuations equal, log-probabilities within {worst:.0e} nats"
    )


@torch.no_grad()
def products(bench: Bench) -> str:
    """Logits of bfloat16 weights."""
    here, there = bench.pair(torch.bfloat16)
    ids = bench.batch(torch.device("cpu"))["forget"].ids
    far = distance(there(ids.to(bench.device)).logits.cpu(), here(ids).logits)
    require(far < 0.05, f"logits differ by {far:.1%}")
    return f"logits within {far:.1%}"


def gradients(bench: Bench, kind: Any, most: float) -> str:
    """Gradients of GA with a retain term, of float32 weights."""
    found = []
    for model in bench.pair():
        batch = bench.batch(model.device)
        with training_arithmetic(model.train(), kind):
            GA_GDR(ModelForward(model, None), batch).total.backward()
        found.append(
            torch.cat([p.grad.flatten().cpu() for p in trained_parameters(model).values()])
        )
    far = distance(found[1], found[0])
    require(far < most, f"gradients differ by {far:.1e}")
    return f"within {far:.0e} of their norm"


def saliency(bench: Bench) -> str:
    """The most salient tenth of the rows."""
    masks = []
    for model in bench.pair():
        parameters: dict[str, Parameter] = {
            name: p for name, p in trained_parameters(model).items() if p.dim() == 2
        }
        layouts = layouts_of(model, parameters, "row", None)
        loss = GA_GDR(ModelForward(model, None), bench.batch(model.device)).total
        scores = unit_scores(mean_gradient(parameters, [loss]), layouts)
        masks.append(torch.cat([kept.flatten().cpu() for kept in choose(scores, 90.0)[0].values()]))
    differing = int((masks[0] != masks[1]).sum())
    require(differing <= 0.01 * len(masks[0]), f"{differing} of {len(masks[0])} rows differ")
    return f"{differing} of {len(masks[0])} rows differ"


def adamw_8bit(bench: Bench) -> str:
    """Twenty steps beside AdamW's, in float32 on the device."""
    rule = AdamW8bit(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, paged=False)
    torch.manual_seed(0)
    start = torch.randn(64, 256)
    eight, full = (Parameter(start.clone().to(bench.device)) for _ in range(2))
    steps = (rule.make([eight]), torch.optim.AdamW([full], lr=1e-2, weight_decay=0.0))
    for _ in range(20):
        gradient = torch.randn(64, 256)
        for parameter, optimizer in zip((eight, full), steps, strict=True):
            parameter.grad = gradient.to(bench.device)
            optimizer.step()
    far = distance(eight.detach().cpu() - start, full.detach().cpu() - start)
    require(far < 0.1, f"moves differ by {far:.1%}")
    return f"moves within {far:.1%} of AdamW's"


def rounding(bench: Bench, rule: Quantizer) -> str:
    """Weights rounded in place."""
    here, there = bench.pair(torch.bfloat16)
    rule.quantize(here)
    rule.quantize(there)
    pairs = zip(block_linears(here).values(), block_linears(there).values(), strict=True)
    equal = torch.cat([(a.weight == b.weight.cpu()).flatten() for a, b in pairs]).double().mean()
    require(float(equal) > 0.999, f"{float(equal):.2%} of the weights are equal")
    return f"{float(equal):.2%} of the weights equal"


@torch.no_grad()
def llmint8(bench: Bench) -> str:
    """Logits through LLM.int8()'s kernels."""
    here, there = bench.pair(torch.bfloat16)
    LLM_INT8.quantize(here)
    report = LLM_INT8.quantize(there)
    ids = bench.batch(torch.device("cpu"))["forget"].ids
    far = distance(there(ids.to(bench.device)).logits.cpu(), here(ids).logits)
    require(far < 0.1, f"logits differ by {far:.1%}")
    return f"logits within {far:.1%} ({report.kernel})"


def calibrated(bench: Bench, rule: CalibratedQuantizer) -> str:
    """Weight errors of a checkpoint that was calibrated on each device."""
    ids = torch.randint(3, bench.model.config.vocab_size, (16, 64))
    errors = []
    for device in (torch.device("cpu"), bench.device):
        with tempfile.TemporaryDirectory() as folder:
            report = rule.compress(
                copy.deepcopy(bench.model), bench.tokenizer, ids, Path(folder), device
            )
        errors.append(sum(report.weight_error.values()) / report.num_layers)
    require(abs(errors[1] / errors[0] - 1) < 0.05, f"mean weight errors {errors}")
    return f"mean weight errors {errors[0]:.4f} and {errors[1]:.4f}"


def distance(found: Tensor, expected: Tensor) -> float:
    """Returns the norm of the difference, relative to that of what is expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def require(holds: bool, otherwise: str) -> None:
    """Raises `AssertionError` with what is wrong."""
    if not holds:
        raise AssertionError(otherwise)
