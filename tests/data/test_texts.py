"""Texts from another corpus, and from local data sets read as `datasets` reads them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.texts import CorpusTexts, HubTexts, TextSource

ROWS = [{"text": "one", "id": 1}, {"text": " \n", "id": 2}, {"text": "three", "id": 3}]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("data_set_cache")
    )


@pytest.fixture
def texts(tmp_path: Path) -> Callable[..., HubTexts]:
    """Reads the column `text` of the folder `data`, unless told otherwise."""
    (tmp_path / "data").mkdir()
    source = HubTexts(
        path=str(tmp_path / "data"),
        name=None,
        split="train",
        column="text",
        revision=None,
        num_rows=None,
    )
    return lambda **changes: replace(source, **changes)


def write_jsonl(folder: Path, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps(row) for row in rows]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class OtherTown:
    corpus: Corpus

    def load(self) -> Corpus:
        return self.corpus


def test_another_corpus_gives_its_forget_retain_and_holdout_texts_in_this_order() -> None:
    """Not its forget documents: they are cut from the forget texts."""
    corpus = Corpus(
        forget=("f1", "f2"),
        retain=("r1",),
        verbatim=(),
        forget_questions=(),
        forget_examples=(),
        retain_questions=(),
        retain_examples=(),
        forget_documents=("d1",),
        holdout_documents=("h1", "h2"),
    )
    texts = CorpusTexts(corpus=OtherTown(corpus))
    assert isinstance(texts, TextSource)
    assert texts.load() == ("f1", "f2", "r1", "h1", "h2")


def test_reads_jsonl_without_blank_rows(tmp_path: Path, texts: Callable[..., HubTexts]) -> None:
    write_jsonl(tmp_path / "data", ROWS)
    assert isinstance(texts(), TextSource)
    assert texts().load() == ("one", "three")


def test_reads_parquet(tmp_path: Path, texts: Callable[..., HubTexts]) -> None:
    datasets.Dataset.from_list(ROWS).to_parquet(tmp_path / "data" / "validation.parquet")
    assert texts(split="validation").load() == ("one", "three")


def test_reads_text_files_line_by_line(tmp_path: Path, texts: Callable[..., HubTexts]) -> None:
    (tmp_path / "data" / "a.txt").write_text("first\n\nsecond\n", encoding="utf-8")
    (tmp_path / "data" / "b.txt").write_text("third ü\n", encoding="utf-8")
    assert texts().load() == ("first", "second", "third ü")


@pytest.mark.parametrize(
    ("num_rows", "expected"), [(2, ("one",)), (3, ("one", "three")), (9, ("one", "three"))]
)
def test_rows_are_counted_from_the_start_blank_ones_too(
    tmp_path: Path, texts: Callable[..., HubTexts], num_rows: int, expected: tuple[str, ...]
) -> None:
    write_jsonl(tmp_path / "data", ROWS)
    assert texts(num_rows=num_rows).load() == expected


def test_a_changed_file_is_read_again(tmp_path: Path, texts: Callable[..., HubTexts]) -> None:
    write_jsonl(tmp_path / "data", ROWS)
    texts().load()
    write_jsonl(tmp_path / "data", [{"text": "another", "id": 1}])
    assert texts().load() == ("another",)


def test_a_missing_column_is_named_with_those_there_are(
    tmp_path: Path, texts: Callable[..., HubTexts]
) -> None:
    write_jsonl(tmp_path / "data", ROWS)
    with pytest.raises(ValueError, match=r"column=body: .*data has text, id"):
        texts(column="body").load()


@pytest.mark.parametrize("rows", [ROWS, [{"id": "one"}, {"id": None}]])
def test_a_column_of_something_else_is_refused(
    tmp_path: Path, texts: Callable[..., HubTexts], rows: list[dict[str, Any]]
) -> None:
    write_jsonl(tmp_path / "data", rows)
    with pytest.raises(ValueError, match=r"^generic_text\.column=id: .* strings"):
        texts(column="id").load()


@pytest.mark.parametrize(
    "changes",
    [{"path": "/nowhere/texts"}, {"path": "owner/no-such-set"}, {"split": "test"}],
)
def test_what_cannot_be_loaded_is_refused_with_ways_out(
    tmp_path: Path, texts: Callable[..., HubTexts], changes: dict[str, str]
) -> None:
    write_jsonl(tmp_path / "data", ROWS)
    source = texts(**changes)
    place = rf"^generic_text\.path={source.path}: cannot be loaded"
    with pytest.raises(ValueError, match=rf"{place} \(.+\)\. .*folder.* hub name\b"):
        source.load()


def test_an_empty_folder_and_a_broken_file_are_refused(
    tmp_path: Path, texts: Callable[..., HubTexts]
) -> None:
    with pytest.raises(ValueError, match="data: cannot be loaded"):
        texts().load()
    (tmp_path / "data" / "train.jsonl").write_text("{not json", encoding="utf-8")
    with pytest.raises(ValueError, match="data: cannot be loaded"):
        texts().load()


def test_a_number_of_rows_that_reads_nothing_is_refused(texts: Callable[..., HubTexts]) -> None:
    with pytest.raises(ValueError, match=r"num_rows=0: .*at least 1, or null\b"):
        texts(num_rows=0)


def test_a_folder_needs_no_configuration(tmp_path: Path, texts: Callable[..., HubTexts]) -> None:
    """`generic_text.path=FOLDER` alone is enough: the name is that of the hub's WikiText."""
    write_jsonl(tmp_path / "data", ROWS)
    assert texts(name="wikitext-2-raw-v1").load() == texts().load()


def test_a_single_file_is_read_by_its_suffix(
    tmp_path: Path, texts: Callable[..., HubTexts]
) -> None:
    write_jsonl(tmp_path / "data", ROWS)
    (file,) = (tmp_path / "data").glob("*.jsonl")
    assert texts(path=str(file)).load() == texts().load()
    with pytest.raises(ValueError, match=r"file must end in .*\.jsonl"):
        texts(path=str(file.rename(file.with_suffix(".log")))).load()


def test_two_folders_of_the_same_name_are_not_mixed_up(tmp_path):
    """`datasets` keeps a folder with a card by its last name."""
    for owner in ("one", "other"):
        folder = tmp_path / owner / "texts"
        folder.mkdir(parents=True)
        (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n---\n")
        (folder / "train.jsonl").write_text(json.dumps({"text": owner}) + "\n")
    settings = {"name": None, "split": "train", "column": "text", "revision": None}
    for owner in ("one", "other", "one"):
        path = str(tmp_path / owner / "texts")
        assert HubTexts(path=path, num_rows=None, **settings).load() == (owner,)
