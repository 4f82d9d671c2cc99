"""Loads corpora of the MUSE benchmark from the hub, or from a folder in the same layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from unlearn_lab.data.corpus import PLAIN, Corpus, Prompting, Template
from unlearn_lab.data.hub import rows_of
from unlearn_lab.data.muse_layout import (
    ASKED,
    FOLDS,
    NUM_FOLDS,
    TRAINED,
    columns,
    compare,
    forget_names,
    is_muse_layout,
    read_local,
)
from unlearn_lab.data.parts import Part, parse
from unlearn_lab.data.problems import refusal
from unlearn_lab.data.remarks import Surveyed, remarks
from unlearn_lab.plan.protocols import Outside

_READ = ("raw", "scal", "sust", "knowmem", "verbmem", "privleak")
"""The folders that belong to the corpus and enter its key; others (results of runs) do not."""


@dataclass(frozen=True, kw_only=True)
class MuseCorpus(Prompting):
    """MUSE-News, MUSE-Books or another corpus in MUSE's layout (Shi et al., arXiv 2407.06460).

    Attributes:
        path: hub name, or folder with `raw`, `knowmem`, `verbmem` and `privleak`.
        revision: branch, tag or commit on the hub.
        retain: the split of `raw` to retain.
        folds: the experiment whose forget folds are read from `scal` or `sust`; None reads `raw`.
        fold: the forget fold, 1 to 4; None takes everything forgotten up to the last.
        allow_overlap: accepts all texts that occur in two splits. Otherwise a few shared training
            texts are accepted (`TOLERATED_SHARE`), but none shared by PrivLeak's two sets.
    """

    path: str
    revision: str | None
    retain: str
    folds: Literal["scalability", "sustainability"] | None
    fold: int | None
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        """Raises `ValueError` for folds that MUSE does not have, or an unknown template."""
        self.prompting()
        if self.folds is not None and self.folds not in FOLDS:
            raise ValueError(f"folds={self.folds}: must be {' or '.join(FOLDS)}, or null")
        if self.fold is not None and not 1 <= self.fold <= NUM_FOLDS:
            raise ValueError(f"fold={self.fold}: must be 1, 2, 3 or 4")
        if self.fold is not None and self.folds is None:
            raise ValueError(f"fold={self.fold}: needs folds=scalability or folds=sustainability")

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The data set on the hub, or the folders of the corpus."""
        patterns = tuple(f"{name}/**/*" for name in _READ)
        return (
            Outside(
                kind="dataset",
                place=self.path,
                setting="path",
                revision="revision",
                patterns=patterns,
            ),
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The folds to unlearn in order; for scalability one, because its folds are cumulative."""
        if self.folds is None:
            return ()
        last = self.fold or NUM_FOLDS
        return (last,) if self.folds == "scalability" else tuple(range(1, last + 1))

    @property
    def published_as(self) -> str | None:
        """The name on the hub; None for a folder."""
        return None if Path(self.path).exists() else self.path

    def load(self) -> Corpus:
        """Returns the corpus of `survey`."""
        return self.survey().corpus

    def survey(self) -> Surveyed:
        """Returns the corpus as published, with a few blank and repeated articles, and the remarks.

        Raises `ValueError` if it cannot be loaded, a part is missing, or a row is invalid.
        """
        folder = Path(self.path)
        if folder.is_dir() and not is_muse_layout(folder):
            raise ValueError(
                f"path={self.path}: has no folder raw, knowmem, verbmem or privleak, so it is not "
                "laid out as MUSE's data; for texts of your own use dataset=custom "
                f"dataset.path={self.path}"
            )
        read = partial(read_local, folder) if folder.is_dir() else self._read_hub
        forget = [read(name) for name in forget_names(self.folds, self.fold)]
        retain = read(f"raw/{self.retain}")
        asked = {role: read(name) for role, name in ASKED.items()}
        parts = [*forget, retain, *asked.values()]
        problems = [problem for part in parts for problem in part.problems]
        shared, overlap = compare(forget, [retain], asked, allowed=self.allow_overlap)
        problems += shared
        if problems:
            raise refusal(problems, self.path if folder.is_dir() else None)
        corpus = assemble(forget, retain, asked, self.prompting())
        return Surveyed(corpus=corpus, remarks=remarks(asked, overlap))

    def _read_hub(self, name: str) -> Part:
        configuration, split = name.split("/")
        give = "a folder in MUSE's layout (raw, knowmem, verbmem, privleak)"
        rows = rows_of(self.path, configuration, split, self.revision, give)
        return parse(rows, columns(name), tolerant=name.startswith(TRAINED))


def assemble(
    forget: Sequence[Part], retain: Part, asked: Mapping[str, Part], template: Template = PLAIN
) -> Corpus:
    """Builds the corpus from its parts.

    Args:
        forget: parts to forget, concatenated.
        retain: part to retain.
        asked: parts that metrics read, by their role in `Corpus`.
        template: how questions become prompts.
    """
    return Corpus(
        forget=tuple(text for part in forget for text in part.texts),
        retain=retain.texts,
        verbatim=asked["verbatim"].prompts,
        forget_questions=asked["forget_questions"].questions,
        forget_examples=asked["forget_examples"].questions,
        retain_questions=asked["retain_questions"].questions,
        retain_examples=asked["retain_examples"].questions,
        forget_documents=asked["forget_documents"].texts,
        holdout_documents=asked["holdout_documents"].texts,
        template=template,
    )
