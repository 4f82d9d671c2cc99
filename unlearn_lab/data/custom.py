"""Loads a user's own corpus: forget, retain and holdout texts, and optional questions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from unlearn_lab.data.corpus import (
    Corpus,
    Probe,
    Prompting,
    Question,
    VerbatimPrompt,
    plain_texts,
)
from unlearn_lab.data.leaks import Split, leaks
from unlearn_lab.data.muse_layout import is_muse_layout
from unlearn_lab.data.parts import QUESTION, TEXT, VERBATIM, Part, parse
from unlearn_lab.data.problems import Problem, refusal
from unlearn_lab.data.remarks import Surveyed, remarks
from unlearn_lab.data.rows import SUFFIXES, files_of, read_rows
from unlearn_lab.plan.protocols import Outside

PARTS = {
    "forget": TEXT,
    "retain": TEXT,
    "holdout": TEXT,
    "forget_questions": QUESTION,
    "forget_examples": QUESTION,
    "retain_questions": QUESTION,
    "retain_examples": QUESTION,
    "verbatim": VERBATIM,
}
"""The columns of each part; a part's file is named after it."""
_SCORED = ("verbatim", "forget_questions", "retain_questions")
NEEDED = ("forget", "retain", "holdout")
QUESTIONS = ("forget_questions", "retain_questions")
"""All that a corpus of questions and answers needs."""


@dataclass(frozen=True, kw_only=True)
class CustomCorpus(Prompting):
    """A corpus of one file per part, read from a folder or from individually named files.

    A part is a .json, .jsonl, .csv, .parquet or .txt file (one text), see `rows.files_of`; a named
    file overrides the one in the folder. `forget`, `retain` and `holdout` are required. Without
    `forget` and `retain`, both files of questions are trained on, with the loss on the answers, and
    asked in turn (eval=questions).

    Attributes:
        path: folder with files named after the parts (`PARTS`); None if all are named.
        forget: file of texts to forget.
        retain: file of texts to retain.
        holdout: file of unseen texts.
        forget_questions: file of questions about the forget texts (KnowMem).
        forget_examples: file of few-shot examples for them; see `num_examples`.
        retain_questions: file of questions about the retain texts (Utility).
        retain_examples: file of few-shot examples for them; see `num_examples`.
        verbatim: file of VerbMem prompts; without it, prompts are cut from forget texts.
        prompt_words: words of a prompt cut from a forget text; texts without further words are
            skipped.
        num_examples: without a file of examples, the first questions of a split that become
            few-shot examples and are not asked.
        num_items: largest number of forget texts cut into prompts, and of documents of each split
            scored by PrivLeak.
        allow_overlap: keeps texts that occur in two splits instead of refusing them.
    """

    path: str | None
    forget: str | None
    retain: str | None
    holdout: str | None
    forget_questions: str | None
    forget_examples: str | None
    retain_questions: str | None
    retain_examples: str | None
    verbatim: str | None
    prompt_words: int
    num_examples: int
    num_items: int
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        """Raises `ValueError` for numbers out of range, and for required parts without a file."""
        for name, lowest in (("prompt_words", 1), ("num_examples", 0), ("num_items", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least {lowest}")
        self.prompting()
        missing = [name for name in NEEDED if getattr(self, name) is None]
        if self.path is None and missing and not self._asks_only():
            raise ValueError(
                f"{'path' if missing == list(NEEDED) else missing[0]}=null: give "
                "dataset.path=FOLDER, or a file each as dataset.forget, dataset.retain and "
                "dataset.holdout (or dataset.forget_questions and dataset.retain_questions alone)"
            )

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The folder's files, without subfolders, and every named file."""
        return tuple(
            Outside(kind="files", place=place, setting=name, patterns=("*",))
            for name in ("path", *PARTS)
            if (place := getattr(self, name)) is not None
        )

    def load(self) -> Corpus:
        """Returns the corpus of `survey`."""
        return self.survey().corpus

    def survey(self) -> Surveyed:
        """Returns the corpus and the remarks on it.

        Raises `ValueError` with the first problems by file, line and field, or if no forget text is
        long enough for a prompt, or no question is left to ask.
        """
        parts = self.read()
        problems, overlap = self.compare(parts)
        problems = [*(problem for part in parts.values() for problem in part.problems), *problems]
        if problems:
            raise refusal(problems, self.path)
        return Surveyed(corpus=self.assemble(parts), remarks=remarks(scored(parts), overlap))

    def read(self) -> dict[str, Part]:
        """Reads the existing parts; a missing required part is included, with a problem.

        Raises `ValueError` if `path` is not a folder, or is in MUSE's layout.
        """
        if self.path is not None:
            _require_own(self.path)
        needed = QUESTIONS if self._asks_only() else NEEDED
        return {name: part for name in PARTS if (part := self._part(name, needed)) is not None}

    def _asks_only(self) -> bool:
        """Whether there are questions about both splits, and no texts to train on."""
        return all(map(self._exists, QUESTIONS)) and not any(map(self._exists, NEEDED[:2]))

    def _exists(self, name: str) -> bool:
        given = getattr(self, name) is not None
        return given or (self.path is not None and bool(files_of(Path(self.path), name)))

    def compare(self, parts: Mapping[str, Part]) -> tuple[list[Problem], list[Problem]]:
        """Finds texts in two splits; returns problems (none if overlap is allowed) and remarks."""
        if "forget" not in parts:
            return self._compare_questions(parts), []
        forget, retain, holdout = (Split(parts[name]) for name in NEEDED)
        found = [
            leaks(known, other, tolerant=False, allowed=self.allow_overlap)
            for known, other in ((forget, retain), (forget, holdout), (retain, holdout))
        ]
        return (
            [problem for problems, _ in found for problem in problems],
            [remark for _, warned in found for remark in warned],
        )

    def _compare_questions(self, parts: Mapping[str, Part]) -> list[Problem]:
        """Returns a problem for each pair of the retain set that is to be forgotten as well."""
        forget, retain = (parts[name] for name in QUESTIONS)
        known = set(forget.questions) if not self.allow_overlap else set()
        return [
            Problem(retain.place, item.at, item.field, f"is in {forget.place} as well")
            for item, pair in zip(retain.items, retain.questions, strict=True)
            if pair in known
        ]

    def assemble(self, parts: Mapping[str, Part]) -> Corpus:
        """Builds the corpus; raises `ValueError` if no prompt can be cut or no question is left."""
        if "forget" not in parts:
            return self._of_questions(parts)
        asked = {split: self._asked(parts, split) for split in ("forget", "retain")}
        return Corpus(
            forget=parts["forget"].texts,
            retain=parts["retain"].texts,
            verbatim=parts["verbatim"].prompts if "verbatim" in parts else self._prompts(parts),
            forget_questions=asked["forget"][0],
            forget_examples=asked["forget"][1],
            retain_questions=asked["retain"][0],
            retain_examples=asked["retain"][1],
            forget_documents=parts["forget"].texts[: self.num_items],
            holdout_documents=parts["holdout"].texts[: self.num_items],
            template=self.prompting(),
        )

    def _of_questions(self, parts: Mapping[str, Part]) -> Corpus:
        """Builds a corpus whose questions are trained on and asked."""
        forget, retain = (parts[name].questions for name in QUESTIONS)
        holdout = parts["holdout"].texts if "holdout" in parts else ()
        pairs = {"forget": forget, "retain": retain}
        probes = {
            name: tuple(Probe(pair.question, pair.answer, None, ()) for pair in found)
            for name, found in pairs.items()
        }
        documents = {"forget": plain_texts(forget), "holdout": holdout}
        return Corpus.of_pairs(
            pairs,
            probes,
            self.prompting(),
            {name: texts[: self.num_items] for name, texts in documents.items()},
        )

    def _part(self, name: str, needed: Sequence[str]) -> Part | None:
        given = getattr(self, name)
        if given is not None:
            return parse(read_rows(Path(given)), PARTS[name], tolerant=False)
        folder = Path(self.path or ".")
        found = files_of(folder, name) if self.path else []
        if len(found) == 1:
            file, *shards = found[0]
            return parse(read_rows(file, shards), PARTS[name], tolerant=False)
        if not found and name not in needed:
            return None
        if found:
            names = " and ".join(files[0].name for files in found)
            what = f"two files for one part, {names}; keep one, or name it: dataset.{name}=FILE"
        else:
            what = f"no such file, nor {', '.join(SUFFIXES[1:])}; dataset.{name} is needed"
        place = found[0][0] if found else folder / f"{name}{SUFFIXES[0]}"
        problem = Problem(str(place), None, None, what)
        return Part(place=problem.place, columns=(), items=(), problems=(problem,), remarks=())

    def _prompts(self, parts: Mapping[str, Part]) -> tuple[VerbatimPrompt, ...]:
        texts = parts["forget"].texts[: self.num_items]
        ends = [_end_of_words(text, self.prompt_words) for text in texts]
        found = [(end, text) for end, text in zip(ends, texts, strict=True) if end is not None]
        if not found:
            raise ValueError(
                f"prompt_words={self.prompt_words}: none of the first {len(texts)} texts of "
                f"{parts['forget'].place} has more words; choose fewer, or give prompts with their "
                "continuations in dataset.verbatim"
            )
        return tuple(VerbatimPrompt(text[:end], text[end:]) for end, text in found)

    def _asked(
        self, parts: Mapping[str, Part], split: str
    ) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
        """Returns a split's questions and few-shot examples."""
        questions, examples = parts.get(f"{split}_questions"), parts.get(f"{split}_examples")
        if questions is None:
            return (), ()
        if examples is not None:
            return questions.questions, examples.questions
        asked, shown = questions.questions[self.num_examples :], questions.questions
        if not asked:
            raise ValueError(
                f"num_examples={self.num_examples}: {questions.place} has {len(shown)} questions, "
                "which would all be shown as examples and none asked; choose fewer, or give "
                f"dataset.{split}_examples"
            )
        return asked, shown[: self.num_examples]


def scored(parts: Mapping[str, Part]) -> dict[str, Part]:
    """Returns the parts that metrics read, by their role in `Corpus`."""
    made = {name: part for name, part in parts.items() if name in _SCORED}
    if "forget" not in parts:
        return made | {"holdout_documents": parts["holdout"]} if "holdout" in parts else made
    forget = "forget_documents" if "verbatim" in parts else "forget"
    return {forget: parts["forget"], **made, "holdout_documents": parts["holdout"]}


def _end_of_words(text: str, num_words: int) -> int | None:
    """Returns the end offset of the first `num_words` words; None if no further word follows."""
    words = list(islice(re.finditer(r"\S+", text), num_words + 1))
    return words[num_words - 1].end() if len(words) > num_words else None


def _require_own(path: str) -> None:
    if not Path(path).is_dir():
        raise ValueError(f"path={path}: no such folder; give one with {', '.join(NEEDED)} files")
    if files_of(Path(path), "world_facts_perturbed"):
        raise ValueError(f"path={path}: this is TOFU's data; use dataset=tofu dataset.path={path}")
    if is_muse_layout(Path(path)):
        raise ValueError(
            f"path={path}: this is MUSE's layout; use dataset=muse_news dataset.path={path}"
        )
