"""Defines a corpus: forget, retain and holdout texts, and questions about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


def plain_texts(pairs: Sequence[Question]) -> tuple[str, ...]:
    """Returns questions and answers as plain text, one text each."""
    return tuple(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in pairs)


@dataclass(frozen=True)
class Probe:
    """A question whose possible answers are compared by their probability (TOFU, 2401.06121).

    Attributes:
        question: the question.
        answer: the true answer.
        paraphrase: the true answer in other words; None where there is none.
        wrong: wrong answers, in the wording of the paraphrase; may be empty.
    """

    question: str
    answer: str
    paraphrase: str | None
    wrong: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Template:
    """How a question becomes a prompt (see `data.template`).

    Attributes:
        kind: `chat` for the tokenizer's chat template, `plain` for "Question: ..." and "Answer:",
            `auto` for `chat` where the tokenizer has a template.
        system: the system prompt of a chat; None for none.
        date: what a chat template shows as today's date.
    """

    kind: str
    system: str | None
    date: str

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown kind."""
        if self.kind not in TEMPLATES:
            raise ValueError(f"template={self.kind}: must be one of {', '.join(TEMPLATES)}")


TEMPLATES = ("auto", "chat", "plain")
PLAIN = Template(kind="plain", system=None, date="")


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """Base of corpora: the settings of the template by which questions become prompts.

    Attributes:
        template: see `Template.kind`.
        system_prompt: system prompt of a chat; None for none.
        date: what a chat template shows as today's date.
    """

    template: str = "plain"
    system_prompt: str | None = None
    date: str = ""

    def prompting(self) -> Template:
        """Returns the template; raises `ValueError` for an unknown kind."""
        return Template(kind=self.template, system=self.system_prompt, date=self.date)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All texts of an unlearning experiment, by the roles of MUSE (Shi et al., arXiv 2407.06460).

    Benchmarks of questions and answers (TOFU, Maini et al., arXiv 2401.06121) train on pairs, of
    which only the answers are learnt or unlearnt.

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
        forget_pairs: questions and answers to forget, beside `forget`.
        retain_pairs: questions and answers to retain, beside `retain`.
        probes: questions by what they ask about: `forget`, `retain`, `real_authors`, `world_facts`.
        template: how questions become prompts.
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
    forget_pairs: tuple[Question, ...] = ()
    retain_pairs: tuple[Question, ...] = ()
    probes: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict[str, tuple[Probe, ...]])
    template: Template = PLAIN

    @classmethod
    def of_pairs(
        cls,
        pairs: Mapping[str, tuple[Question, ...]],
        probes: Mapping[str, tuple[Probe, ...]],
        template: Template,
        documents: Mapping[str, tuple[str, ...]],
    ) -> "Corpus":
        """Builds a corpus of questions and answers only.

        Args:
            pairs: `forget` and `retain`.
            probes: questions by what they ask about.
            template: how questions become prompts.
            documents: `forget` and `holdout`, scored by PrivLeak; may be empty.
        """
        return cls(
            forget=(),
            retain=(),
            verbatim=(),
            forget_questions=(),
            forget_examples=(),
            retain_questions=(),
            retain_examples=(),
            forget_documents=documents["forget"],
            holdout_documents=documents["holdout"],
            forget_pairs=pairs["forget"],
            retain_pairs=pairs["retain"],
            probes=probes,
            template=template,
        )

    def texts(self, split: str) -> tuple[str, ...]:
        """Returns all that there is to train on in `forget` or `retain`, as plain text."""
        return (*getattr(self, split), *plain_texts(self.pairs(split)))

    def pairs(self, split: str) -> tuple[Question, ...]:
        """Returns the pairs of `forget` or `retain`."""
        return getattr(self, f"{split}_pairs")

    @property
    def unseen(self) -> tuple[str, ...]:
        """Texts that no model is trained on: holdout documents, or else facts about the world."""
        facts = [
            f"{probe.question} {probe.answer}"
            for name in ("world_facts", "real_authors")
            for probe in self.probes.get(name, ())
        ]
        return self.holdout_documents or tuple(facts)


@runtime_checkable
class CorpusSource(Protocol):
    """A source of a corpus: a generator, a folder or the hub."""

    def load(self) -> Corpus:
        """Returns the whole corpus, the same at every call."""
        ...
