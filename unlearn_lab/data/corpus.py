"""Defines a corpus: forget, retain and holdout texts, and questions about them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class VerbatimPrompt:
    """The beginning of a forget text and its ground truth (MUSE columns `prompt` and `gt`)."""

    prompt: str
    continuation: str


@dataclass(frozen=True)
class Question:
    """A question and its ground-truth answer (MUSE columns `question` and `answer`)."""

    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All texts of an unlearning experiment, by MUSE's roles (Shi et al., arXiv 2407.06460).

    Attributes:
        forget: training texts to forget.
        retain: training texts to retain.
        verbatim: prompts of VerbMem.
        forget_questions: questions of KnowMem.
        forget_examples: few-shot examples for `forget_questions`.
        retain_questions: questions of Utility.
        retain_examples: few-shot examples for `retain_questions`.
        forget_documents: forget texts scored by PrivLeak.
        holdout_documents: unseen texts scored by PrivLeak.
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
    """A source of a corpus: a generator, a folder or the hub."""

    def load(self) -> Corpus:
        """Returns the whole corpus, the same at every call."""
        ...
