"""Loads published tables, one per file: numbers, sources, and the runs that match each row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from unlearn_lab.published.schema import fields, mapping, names_of, numbers, texts

FOLDER = Path(__file__).resolve().parent
HEADLINE = "paper_headline"
PUBLISHED = "published"
WHO = ("target", "retrain", "unlearned")

Who = Literal["target", "retrain", "unlearned"]
Scores = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where published numbers were read.

    Attributes:
        work: authors and title.
        arxiv: the arXiv id, if any.
        version: version on arXiv, such as `v1`.
        place: table or section, if known.
        quoted_by: work that quotes the numbers, where they were not read in the original.
    """

    work: str
    arxiv: str | None
    version: str | None
    place: str | None
    quoted_by: str | None

    def __str__(self) -> str:
        """Formats the source as a citation."""
        version = self.version or ""
        parts = [self.work, f"arXiv {self.arxiv}{version}" if self.arxiv else None, self.place]
        parts.append(f"quoted by {self.quoted_by}" if self.quoted_by else None)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Form:
    """A row in our terms: a run matches if method, optimizer and all of `requires` agree.

    Attributes:
        method: the run's method.
        optimizer: the run's optimizer.
        requires: values by record key that a matching run must have.
        expects: published values by record key; a matching run may differ, and the comparison
            lists the difference.
    """

    method: str
    optimizer: str
    requires: Mapping[str, Any]
    expects: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published model.

    Attributes:
        name: the row's name, unique in its table.
        who: which of our models matches it.
        source: a key of the table's sources.
        forms: the row in our terms, by form; empty for controls and methods without a counterpart.
        expects: published settings of this row, by record key.
        scores: by quantizer, one number per metric; None where none was found published.
    """

    name: str
    who: Who
    source: str
    forms: Mapping[str, Form]
    expects: Mapping[str, Any]
    scores: Mapping[str, Scores]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A published table.

    Scores are 0-100 and PrivLeak in per cent, as in records; shares are in per cent.

    Attributes:
        title: what the table shows.
        dataset: our option for the measured data set.
        model: our option for the measured model.
        decimals: decimals of the published numbers.
        metrics: the columns; `scores` of rows are in this order.
        sources: sources by name.
        expects: published settings of all rows, by record key.
        remarks: what a reader should know about the numbers.
        rows: the published models.
    """

    title: str
    dataset: str
    model: str
    decimals: int
    metrics: tuple[str, ...]
    sources: Mapping[str, Source]
    expects: Mapping[str, Any]
    remarks: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def forms(self) -> tuple[str, ...]:
        """Forms that at least one row has, in file order."""
        return tuple(dict.fromkeys(form for row in self.rows for form in row.forms))


def names(folder: Path = FOLDER) -> dict[str, tuple[str, str]]:
    """Returns the available comparisons: a table's name, with a suffix for each further form.

    Each name maps to the file's stem and the form.
    """
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.stem != HEADLINE:
            for form in load(path.stem, folder).forms:
                suffix = "" if form == PUBLISHED else f"_{form}"
                found[f"{path.stem}{suffix}"] = (path.stem, form)
    return found


@cache
def load(stem: str, folder: Path = FOLDER) -> Table:
    """Loads a table, once per process; raises `ValueError` with the path of the first error."""
    return table_of(read_table(stem, folder), stem)


def read_table(stem: str, folder: Path = FOLDER) -> Any:
    """Reads a file's plain values; a duplicate key is a YAML error."""
    return OmegaConf.to_container(OmegaConf.load(folder / f"{stem}.yaml"))


def table_of(node: Any, path: str) -> Table:
    """Builds a table from plain values; `path` prefixes the messages of `ValueError`."""
    found = fields(node, names_of(Table), path)
    metrics = tuple(texts(found["metrics"], f"{path}.metrics"))
    sources = {
        name: source_of(source, f"{path}.sources.{name}")
        for name, source in mapping(found["sources"], f"{path}.sources").items()
    }
    rows = tuple(_rows(found["rows"], metrics, f"{path}.rows"))
    for place, row in enumerate(rows):
        if row.source not in sources:
            known = ", ".join(sources)
            raise ValueError(f"{path}.rows.{place}.source={row.source}: one of {known}")
    found |= {"metrics": metrics, "sources": sources, "rows": rows}
    found["expects"] = mapping(found["expects"], f"{path}.expects")
    found["remarks"] = tuple(texts(found["remarks"], f"{path}.remarks"))
    return Table(**found)


def source_of(node: Any, path: str) -> Source:
    """Builds a source from plain values."""
    return Source(**fields(node, names_of(Source), path))


def _rows(nodes: Any, metrics: tuple[str, ...], path: str) -> Iterator[Row]:
    seen = set()
    for place, node in enumerate(nodes):
        here = f"{path}.{place}"
        found = fields(node, names_of(Row), here)
        if found["name"] in seen:
            raise ValueError(f"{here}.name={found['name']}: occurs twice")
        seen.add(found["name"])
        if found["who"] not in WHO:
            raise ValueError(f"{here}.who={found['who']}: one of {', '.join(WHO)}")
        if found["who"] != "unlearned" and found["forms"]:
            raise ValueError(f"{here}.forms: a control has none")
        found["expects"] = mapping(found["expects"], f"{here}.expects")
        found["forms"] = {
            name: _form(form, f"{here}.forms.{name}")
            for name, form in mapping(found["forms"], f"{here}.forms").items()
        }
        found["scores"] = {
            quant: numbers(values, metrics, f"{here}.scores.{quant}")
            for quant, values in mapping(found["scores"], f"{here}.scores").items()
        }
        yield Row(**found)


def _form(node: Any, path: str) -> Form:
    found = fields(node, names_of(Form), path)
    for key in ("requires", "expects"):
        found[key] = mapping(found[key], f"{path}.{key}")
    return Form(**found)


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A published mean of shares, and the rows that it averages.

    Attributes:
        title: what the mean is taken over.
        decimals: decimals of the published means.
        source: where they were read.
        shares: published means in per cent, by quantizer.
        tables: file stems of the tables with the rows.
        rows: names of the rows.
        metrics: columns whose shares are averaged.
        remarks: what a reader should know about the means.
    """

    title: str
    decimals: int
    source: Source
    shares: Mapping[str, float | None]
    tables: tuple[str, ...]
    rows: tuple[str, ...]
    metrics: tuple[str, ...]
    remarks: tuple[str, ...]


def load_headline(folder: Path = FOLDER) -> Headline:
    """Loads the paper's headline."""
    found = fields(read_table(HEADLINE, folder), names_of(Headline), HEADLINE)
    shares = mapping(found["shares"], f"{HEADLINE}.shares")
    quants, retained = tuple(shares), ("retained_share",) * len(shares)
    values = numbers(list(shares.values()), retained, f"{HEADLINE}.shares")
    found["shares"] = dict(zip(quants, values, strict=True))
    found["source"] = source_of(found["source"], f"{HEADLINE}.source")
    for name in ("tables", "rows", "metrics", "remarks"):
        found[name] = tuple(texts(found[name], f"{HEADLINE}.{name}"))
    return Headline(**found)
