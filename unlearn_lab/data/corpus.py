"""What a corpus holds: texts to forget and to retain, unseen texts, and questions about them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class VerbatimPrompt:
    """The beginning of a forget text and its true continuation (MUSE columns `prompt` and `gt`)."""

    prompt: str
    continuation: str


@dataclass(frozen=True)
class Question:
    """A question and its true answer (MUSE columns `question` and `answer`)."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Everything an unlearning experiment reads, in MUSE's roles (Shi et al., arXiv 2407.06460).

    `forget` and `retain` are the texts that models are trained on; `*_documents` are the texts
    scored by PrivLeak; `*_examples` are the question-answer pairs shown before each question.
    """

    forget: tuple[str, ...]
    retain: tuple[str, ...]
    verbatim: tuple[VerbatimPrompt, ...]
    forget_questions: tuple[Question, ...]
    forget_examples: tuple[Question, ...]
    retain_questions: tuple[Question, ...]
    retain_examples: tuple[Question, ...]
    forget_documents: tuple[str, ...]
    holdout_documents: tuple[str, ...]


@runtime_checkable
class CorpusSource(Protocol):
    """Where a corpus comes from: generated, from a folder or from the hub."""

    def load(self) -> Corpus:
        """The whole corpus, the same at every call."""
        ...
