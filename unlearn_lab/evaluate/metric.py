"""Metric protocols: score the answers of one batched engine, or run the model directly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from unlearn_lab.data.corpus import Corpus, Question, Template
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling of every token from softmax(logits / temperature), instead of greedy decoding.

    Equal settings give a prompt the same draws every time.

    Attributes:
        temperature: above 0.
        seed: seed of the draws.
        index: distinguishes several samples of one prompt.
    """

    temperature: float
    seed: int
    index: int

    def __post_init__(self) -> None:
        """Raises `ValueError` for a temperature that is not positive."""
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}: must be above 0, or null for greedy")


@dataclass(frozen=True)
class Continue:
    """Request for a continuation of a prompt.

    Attributes:
        prompt: the text to continue; with `template`, a question.
        num_tokens: maximum number of new tokens; with `counts_prompt`, of prompt and new tokens.
        sampling: None decodes greedily.
        template: how the question becomes a prompt; None: the prompt is plain text.
        counts_prompt: whether `num_tokens` includes the prompt.
        examples: with `template`, few-shot examples before the question.
        stops: strings with which a continuation may end early; it contains the string.
    """

    prompt: str
    num_tokens: int
    sampling: Sampling | None = None
    template: Template | None = None
    counts_prompt: bool = False
    examples: tuple[Question, ...] = ()
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogLikelihood:
    """Request for the log-probabilities of a text's first `num_tokens` tokens, BOS not counted.

    None requests all of them. With a question and its template, the text is an answer to it, and
    its tokens and EOS are scored.
    """

    text: str
    num_tokens: int | None
    question: str | None = None
    template: Template | None = None


ModelQuery = Continue | LogLikelihood


@runtime_checkable
class Answers(Protocol):
    """Answers of the engine, looked up by request."""

    def text(self, request: Continue) -> str:
        """Returns the continuation, without the prompt."""
        ...

    def log_probabilities(self, request: LogLikelihood) -> Float[Tensor, " tokens"]:
        """Returns one value in nats for each token except the first of the sequence (BOS).

        Of an answer to a question, one for each of its tokens and for EOS.
        """
        ...

    def likeliest(self, request: LogLikelihood) -> Bool[Tensor, " tokens"]:
        """Returns for each token scored, EOS excepted, whether no other is likelier."""
        ...

    def truncate(self, text: str, num_tokens: int) -> str:
        """Returns the text cut to its first `num_tokens` tokens (no special tokens)."""
        ...


@dataclass(frozen=True)
class Score:
    """A metric's value with its 95 % bootstrap interval, and the items it is computed from.

    Attributes:
        value: the metric's value.
        low: lower end of the interval.
        high: upper end of the interval.
        per_item: score of each item.
        items: rows of the sample table: prompt or question, answer, ground truth, item score.
    """

    value: float
    low: float
    high: float
    per_item: tuple[float, ...]
    items: tuple[Mapping[str, str | float], ...]


@runtime_checkable
class AnyMetric(Protocol):
    """Interface shared by both kinds of metrics."""

    def missing(self, corpus: Corpus) -> str | None:
        """Returns what the corpus lacks for the metric ("the corpus has no ..."), or None."""
        ...


@runtime_checkable
class Metric(AnyMetric, Protocol):
    """Metric over a corpus that scores a model's answers to its own requests.

    Example:
        from unlearn_lab.evaluate.answer import answer
        from unlearn_lab.evaluate.knowmem import KnowMem

        # with a `Corpus`, and a causal language model and its tokenizer from transformers
        metric = KnowMem(split="forget", num_tokens=32, answer_cue="Answer:")
        if metric.missing(corpus) is None:
            answers = answer(model, tokenizer, metric.requests(corpus), batch_tokens=16384)
            score = metric.score(corpus, answers)
            print(f"KnowMem {score.value:.1f} ({score.low:.1f} to {score.high:.1f})")
    """

    def requests(self, corpus: Corpus) -> Sequence[ModelQuery]:
        """Returns the requests that the model must answer."""
        ...

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the score; raises `ValueError` when the corpus has nothing to score."""
        ...


@runtime_checkable
class BoundedMetric(Metric, Protocol):
    """Metric that limits answers, so that some true answers may be unreachable."""

    def hopeless(self, corpus: Corpus, count: Callable[[str], int]) -> str | None:
        """Reports how many true answers no model can give in full, None if all are reachable.

        `count` returns the number of tokens of a text.
        """
        ...


@runtime_checkable
class ModelMetric(AnyMetric, Protocol):
    """Metric that runs the model itself, as an evaluation harness does."""

    def measure(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
    ) -> Score:
        """Returns the score of the model, which is left unchanged.

        Args:
            model: the model, on its device.
            tokenizer: the model's tokenizer.
            batch_tokens: maximum number of tokens in a batch.
        """
        ...


def hopeless_answers(
    metrics: Mapping[str, AnyMetric], corpus: Corpus, count: Callable[[str], int]
) -> str | None:
    """Reports unreachable true answers of all metrics in one line; None if there are none.

    Args:
        metrics: the metrics by name.
        corpus: the corpus.
        count: returns the number of tokens of a text.
    """
    found = {
        name: metric.hopeless(corpus, count)
        for name, metric in metrics.items()
        if isinstance(metric, BoundedMetric)
    }
    return "; ".join(f"{name}: {remark}" for name, remark in found.items() if remark) or None


def missing_metrics(metrics: Mapping[str, AnyMetric], corpus: Corpus) -> dict[str, str]:
    """Returns the metrics that the corpus has no data for, by name, with the reason of each."""
    reasons = {name: metric.missing(corpus) for name, metric in metrics.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}
