"""What a metric is: it asks, one batched engine answers, it scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from unlearn_lab.data.corpus import Corpus


@dataclass(frozen=True)
class Continue:
    """Ask for the greedy continuation of a prompt, at most `num_tokens` new tokens long."""

    prompt: str
    num_tokens: int


@dataclass(frozen=True)
class LogLikelihood:
    """Ask for the log-probabilities of a text's first `num_tokens` tokens, BOS not counted."""

    text: str
    num_tokens: int


Request = Continue | LogLikelihood


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
class Metric(Protocol):
    """A metric over a corpus; `score` receives the answers to its own `requests`, by request."""

    def requests(self, corpus: Corpus) -> Sequence[Request]:
        """What the metric wants to know about a model."""
        ...

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """The score; raises `ValueError` when the corpus has nothing to score."""
        ...
