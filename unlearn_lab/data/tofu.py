"""Loads TOFU from the hub or from a folder: questions and answers about invented authors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from unlearn_lab.data.corpus import Corpus, Probe, Prompting, Question, plain_texts
from unlearn_lab.data.hub import rows_of
from unlearn_lab.data.parts import QUESTION, parse
from unlearn_lab.data.problems import Problem, refusal
from unlearn_lab.data.rows import Row, Rows, files_of, kind, read_rows
from unlearn_lab.plan.protocols import Outside

RETAINED = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
"""The retain split of each forget split."""
PER_AUTHOR = 20
"""Questions about one author; they are contiguous."""
_SUFFIX = "_perturbed"


@dataclass(frozen=True, kw_only=True)
class TofuCorpus(Prompting):
    """TOFU: 200 invented authors, some of whom are forgotten (Maini et al., arXiv 2401.06121).

    A folder contains files named after the hub's configurations: `forget10`, `retain90`,
    `forget10_perturbed`, `retain_perturbed`, `real_authors_perturbed`, `world_facts_perturbed`.
    `holdout10` is needed for PrivLeak only; a folder may lack it (the hub has it).

    Attributes:
        path: hub name, or folder.
        revision: branch, tag or commit on the hub.
        split: `forget01`, `forget05` or `forget10`.
        authors: how many authors of the forget split are forgotten, from the first; None for all.
        retain_authors: how many authors are retained, from the first; None for all.
    """

    path: str
    revision: str | None
    split: str
    authors: int | None
    retain_authors: int | None

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown split or template, or no authors."""
        if self.split not in RETAINED:
            raise ValueError(f"split={self.split}: must be one of {', '.join(RETAINED)}")
        for name in ("authors", "retain_authors"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: must be at least 1, or null for all")
        self.prompting()

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The data set: a folder's files, or a commit of the hub."""
        return (
            Outside(
                kind="dataset",
                place=self.path,
                setting="path",
                revision="revision",
                patterns=tuple(f"{name}*" for name in self._names()),
            ),
        )

    @property
    def published_as(self) -> str | None:
        """The name on the hub; None for a folder."""
        return None if Path(self.path).exists() else self.path

    def load(self) -> Corpus:
        """Returns the corpus.

        Raises `ValueError` if it cannot be loaded, a row is invalid, there are fewer authors than
        asked for, or splits do not belong together.
        """
        forget, retain = self._pairs(self.split), self._pairs(RETAINED[self.split])
        both = set(forget) & set(retain)
        if both:
            raise ValueError(
                f"path={self.path}: {len(both)} pairs are both in {self.split} and in "
                f"{RETAINED[self.split]}, first {next(iter(both)).question[:60]!r}"
            )
        probed = {
            "forget": self._probes(self.split),
            "retain": self._probes("retain"),
            "real_authors": self._probes("real_authors"),
            "world_facts": self._probes("world_facts"),
        }
        for about, pairs in (("forget", forget), ("retain", retain)):
            known = {(pair.question, pair.answer) for pair in pairs}
            for probe in probed[about]:
                if (probe.question, probe.answer) not in known:
                    raise ValueError(
                        f"path={self.path}: the probe {probe.question[:60]!r} is not in the "
                        f"{about} split"
                    )
        kept = {
            "forget": self._rows("authors", forget),
            "retain": self._rows("retain_authors", retain),
        }
        asked = {about: rows[: kept.get(about, len(rows))] for about, rows in probed.items()}
        pairs = {"forget": forget[: kept["forget"]], "retain": retain[: kept["retain"]]}
        documents = {"forget": pairs["forget"], "holdout": self._holdout()}
        return Corpus.of_pairs(
            pairs,
            asked,
            self.prompting(),
            {name: plain_texts(found) for name, found in documents.items()},
        )

    def _names(self) -> list[str]:
        probed = (self.split, "retain", "real_authors", "world_facts")
        trained = [self.split, RETAINED[self.split]]
        return [*trained, *(f"{name}{_SUFFIX}" for name in probed), self._held_out]

    @property
    def _held_out(self) -> str:
        return self.split.replace("forget", "holdout")

    def _holdout(self) -> tuple[Question, ...]:
        folder = Path(self.path)
        if folder.is_dir() and not files_of(folder, self._held_out):
            return ()
        return self._pairs(self._held_out)

    def _rows(self, setting: str, pairs: Sequence[Question]) -> int:
        """Returns how many rows the asked number of authors has."""
        wanted = getattr(self, setting)
        if wanted is None:
            return len(pairs)
        if wanted * PER_AUTHOR > len(pairs):
            raise ValueError(
                f"{setting}={wanted}: the split has {len(pairs) // PER_AUTHOR} authors"
            )
        return wanted * PER_AUTHOR

    def _pairs(self, name: str) -> tuple[Question, ...]:
        part = parse(self._read(name), QUESTION, tolerant=False)
        if part.problems:
            raise refusal(part.problems, self.path)
        return part.questions

    def _probes(self, name: str) -> tuple[Probe, ...]:
        rows = self._read(f"{name}{_SUFFIX}")
        part = parse(rows, QUESTION, tolerant=False)
        faults = [
            Problem(rows.place, row.at, column, what)
            for row in rows.rows
            for column, what in _faults(row)
        ]
        if part.problems or faults:
            raise refusal([*part.problems, *faults], self.path)
        return tuple(_probe(row) for row in rows.rows)

    def _read(self, name: str) -> Rows:
        folder = Path(self.path)
        if folder.is_dir():
            found = files_of(folder, name)
            if not found:
                raise ValueError(
                    f"path={self.path}: has no file {name}.json (or .jsonl, .parquet); TOFU's "
                    "folder has a file per configuration of locuslab/TOFU"
                )
            return read_rows(found[0][0], found[0][1:])
        give = f"a folder with {', '.join(self._names())} as .json files"
        return rows_of(self.path, name, "train", self.revision, give)


def _faults(row: Row) -> list[tuple[str, str]]:
    """Returns the faults of the columns that only probes have."""
    if not isinstance(row.value, dict):
        return []
    wrong = row.value.get("perturbed_answer")
    faults = []
    if not isinstance(wrong, list) or not wrong or not all(isinstance(one, str) for one in wrong):
        faults.append(("perturbed_answer", f"is {kind(wrong)}; must be a list of texts"))
    paraphrase = row.value.get("paraphrased_answer")
    if paraphrase is not None and not isinstance(paraphrase, str):
        faults.append(("paraphrased_answer", f"is {kind(paraphrase)}; must be a text"))
    return faults


def _probe(row: Row) -> Probe:
    value = cast("Mapping[str, Any]", row.value)
    return Probe(
        question=value["question"],
        answer=value["answer"],
        paraphrase=value.get("paraphrased_answer"),
        wrong=tuple(value["perturbed_answer"]),
    )
