"""What a metric is: it asks, one batched engine answers, it scores; or it measures by itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_lab.data.corpus import Corpus


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Draw every token from softmax(logits / temperature); `index` tells a prompt's samples apart.

    Equal settings give a prompt the same draws every time.
    """

    temperature: float
    seed: int
    index: int

    def __post_init__(self) -> None:
        """Refuses a temperature that is none."""
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}: must be above 0, or null for greedy")


@dataclass(frozen=True)
class Continue:
    """Ask for a continuation of a prompt, at most `num_tokens` new tokens long; None is greedy."""

    prompt: str
    num_tokens: int
    sampling: Sampling | None = None


@dataclass(frozen=True)
class LogLikelihood:
    """Ask for the log-probabilities of a text's first `num_tokens` tokens, BOS not counted.

    None asks for all of them.
    """

    text: str
    num_tokens: int | None


ModelQuery = Continue | LogLikelihood


@runtime_checkable
class Answers(Protocol):
    """The engine's answers, looked up by request."""

    def text(self, request: Continue) -> str:
        """The continuation, without the prompt."""
        ...

    def log_probabilities(self, request: LogLikelihood) -> Float[Tensor, " tokens"]:
        """In nats, one for each token but the first one of the sequence (BOS)."""
        ...

    def truncate(self, text: str, num_tokens: int) -> str:
        """The text cut to its first `num_tokens` tokens (no special tokens)."""
        ...


@dataclass(frozen=True)
class Score:
    """One number with its 95 % bootstrap interval, and the items that it is a function of.

    `items` are rows of a sample table: what was asked, what was answered, what was true, the item's
    score.
    """

    value: float
    low: float
    high: float
    per_item: tuple[float, ...]
    items: tuple[Mapping[str, str | float], ...]


@runtime_checkable
class AnyMetric(Protocol):
    """What both kinds of metric say of a corpus."""

    def missing(self, corpus: Corpus) -> str | None:
        """Why this corpus cannot serve the metric, as a clause ("the corpus has no ...")."""
        ...


@runtime_checkable
class Metric(AnyMetric, Protocol):
    """A metric over a corpus; `score` receives the answers to its own `requests`, by request."""

    def requests(self, corpus: Corpus) -> Sequence[ModelQuery]:
        """What the metric wants to know about a model."""
        ...

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """The score; raises `ValueError` when the corpus has nothing to score."""
        ...


@runtime_checkable
class BoundedMetric(Metric, Protocol):
    """A metric that ends answers, so that some true ones may be out of reach."""

    def hopeless(self, corpus: Corpus, count: Callable[[str], int]) -> str | None:
        """How many true answers no model can give in full; `count` gives a text's tokens."""
        ...


@runtime_checkable
class ModelMetric(AnyMetric, Protocol):
    """A metric that runs the model by itself, as an evaluation harness does."""

    def measure(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
    ) -> Score:
        """The score of the model, which is left as it was."""
        ...


def hopeless_answers(
    metrics: Mapping[str, AnyMetric], corpus: Corpus, count: Callable[[str], int]
) -> str | None:
    """One line on true answers that no model can give, metric by metric; None without any."""
    found = {
        name: metric.hopeless(corpus, count)
        for name, metric in metrics.items()
        if isinstance(metric, BoundedMetric)
    }
    return "; ".join(f"{name}: {remark}" for name, remark in found.items() if remark) or None


def missing_metrics(metrics: Mapping[str, AnyMetric], corpus: Corpus) -> dict[str, str]:
    """The metrics that the corpus cannot serve, by name, and the reason of each."""
    reasons = {name: metric.missing(corpus) for name, metric in metrics.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}
