"""Loads generic texts unrelated to the corpus: another generated corpus, or a data set."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from unlearn_lab.data.corpus import CorpusSource
from unlearn_lab.data.hub import load_split, not_loaded, read_split
from unlearn_lab.plan.protocols import Outside

if TYPE_CHECKING:
    from datasets import Dataset

_KINDS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".txt": "text"}
"""The builder of `datasets` for each file suffix."""


@runtime_checkable
class TextSource(Protocol):
    """A source of plain texts."""

    def load(self) -> tuple[str, ...]:
        """Returns the texts, the same at every call."""
        ...


@dataclass(frozen=True, kw_only=True)
class CorpusTexts:
    """All texts of another corpus, such as a gazette with another seed."""

    corpus: CorpusSource

    def load(self) -> tuple[str, ...]:
        """Returns its forget, retain and holdout texts."""
        other = self.corpus.load()
        return (*other.texts("forget"), *other.texts("retain"), *other.holdout_documents)


@dataclass(frozen=True, kw_only=True)
class HubTexts:
    """One column of a data set, read with `datasets`.

    Attributes:
        path: hub name, local folder, or a JSONL, JSON, parquet, CSV or text file.
        name: the configuration; ignored for local paths.
        split: the split.
        column: the column with the texts.
        revision: branch, tag or commit on the hub; ignored for local paths.
        num_rows: rows read from the start of the split; None reads all.
    """

    path: str
    name: str | None
    split: str
    column: str
    revision: str | None
    num_rows: int | None

    def __post_init__(self) -> None:
        if self.num_rows is not None and self.num_rows < 1:
            raise ValueError(f"num_rows={self.num_rows}: must be at least 1, or null for all")

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The data set."""
        return (Outside(kind="dataset", place=self.path, setting="path", revision="revision"),)

    def load(self) -> tuple[str, ...]:
        """Returns the texts that are not blank.

        Raises `ValueError` if the data set cannot be loaded or has no such column of strings.
        """
        from datasets.exceptions import DatasetsError

        try:
            rows = self._rows()
        except (OSError, ValueError, DatasetsError) as error:
            give = "a folder of parquet, JSONL or text files"
            raise not_loaded("generic_text.path", self.path, error, give) from error
        if self.column not in rows.column_names:
            raise ValueError(
                f"generic_text.column={self.column}: {self.path} has {', '.join(rows.column_names)}"
            )
        chosen = (
            rows if self.num_rows is None else rows.select(range(min(self.num_rows, len(rows))))
        )
        texts = chosen[self.column]
        if any(not isinstance(text, str) for text in texts):
            raise ValueError(f"generic_text.column={self.column}: not all its values are strings")
        return tuple(text for text in texts if text.strip())

    def _rows(self) -> "Dataset":
        place = Path(self.path)
        if place.is_file():
            kind = _KINDS.get(place.suffix)
            if kind is None:
                raise ValueError(f"a file must end in {', '.join(_KINDS)}")
            return read_split(kind, self.split, data_files=str(place))
        if place.is_dir():
            # `datasets` caches a folder with a dataset card under its last name alone
            with TemporaryDirectory() as kept:
                return read_split(self.path, self.split, cache_dir=kept, in_memory=True)
        return load_split(self.path, self.name, self.split, self.revision)
