"""Published numbers: one table a file, with sources, and which of our runs each row stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    """Where numbers were read; `quoted_by` names who quotes them where the original was not."""

    work: str
    arxiv: str | None
    version: str | None
    place: str | None
    quoted_by: str | None

    def __str__(self) -> str:
        """The source as a reader looks it up."""
        version = self.version or ""
        parts = [self.work, f"arXiv {self.arxiv}{version}" if self.arxiv else None, self.place]
        parts.append(f"quoted by {self.quoted_by}" if self.quoted_by else None)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Form:
    """A row in our terms: a run is this row's if method, optimizer and all of `requires` agree.

    `requires` and `expects` map keys of records to values; a run that has another value where one
    is expected is still this row's, and the comparison tells it.
    """

    method: str
    optimizer: str
    requires: Mapping[str, Any]
    expects: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published model: per quantizer one number a metric, None where it was never found.

    `forms` is empty for controls, and for methods that have no counterpart here.
    """

    name: str
    who: Who
    source: str
    forms: Mapping[str, Form]
    expects: Mapping[str, Any]
    scores: Mapping[str, Scores]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A published table: metrics are columns, `scores` of rows are in their order.

    Scores are 0-100 and PrivLeak in per cent, as in records; shares are in per cent. `decimals` is
    how finely they were published; `model` and `dataset` are our names of what was measured.
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
        """The forms that at least one row has, in the order of the file."""
        return tuple(dict.fromkeys(form for row in self.rows for form in row.forms))


def names(folder: Path = FOLDER) -> dict[str, tuple[str, str]]:
    """What can be compared: the name of a table, with a suffix for each further form.

    Each name maps to the file's stem and the form.
    """
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.stem != HEADLINE:
            for form in load(path.stem, folder).forms:
                suffix = "" if form == PUBLISHED else f"_{form}"
                found[f"{path.stem}{suffix}"] = (path.stem, form)
    return found


def load(stem: str, folder: Path = FOLDER) -> Table:
    """The table of a file; raises `ValueError` with the place of the first thing that is wrong."""
    return table_of(read_table(stem, folder), stem)


def read_table(stem: str, folder: Path = FOLDER) -> Any:
    """The plain values of a file; a key that occurs twice is an error of YAML."""
    return OmegaConf.to_container(OmegaConf.load(folder / f"{stem}.yaml"))


def table_of(node: Any, path: str) -> Table:
    """A table from plain values; `path` opens the messages of `ValueError`."""
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
    """A source from plain values."""
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
    """A published mean of shares (in per cent, by quantizer), and which rows it is taken over."""

    title: str
    decimals: int
    source: Source
    shares: Mapping[str, float | None]
    tables: tuple[str, ...]
    rows: tuple[str, ...]
    metrics: tuple[str, ...]
    remarks: tuple[str, ...]


def load_headline(folder: Path = FOLDER) -> Headline:
    """The headline of the paper."""
    found = fields(read_table(HEADLINE, folder), names_of(Headline), HEADLINE)
    shares = mapping(found["shares"], f"{HEADLINE}.shares")
    quants, retained = tuple(shares), ("retained_share",) * len(shares)
    values = numbers(list(shares.values()), retained, f"{HEADLINE}.shares")
    found["shares"] = dict(zip(quants, values, strict=True))
    found["source"] = source_of(found["source"], f"{HEADLINE}.source")
    for name in ("tables", "rows", "metrics", "remarks"):
        found[name] = tuple(texts(found[name], f"{HEADLINE}.{name}"))
    return Headline(**found)
