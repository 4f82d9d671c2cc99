"""Reads the files of a corpus: rows with their line numbers, and faults of the format."""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unlearn_lab.data.problems import Problem

_SPACE = re.compile(r"[ \t\r\n]*")
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True)
class Row:
    """One unvalidated value of a file.

    Attributes:
        at: line ("3") or row ("row 3").
        item: index in a JSON array ("[2]"), else empty.
        value: the value.
    """

    at: str
    item: str
    value: object


@dataclass(frozen=True)
class Rows:
    """The readable rows of a file or hub split.

    Attributes:
        place: the file or hub split.
        rows: the rows that could be read.
        problems: what could not be read.
    """

    place: str
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


class _Broken(Exception):
    """The file, or a line of it, cannot be read."""

    def __init__(self, what: str, at: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.at = None if at is None else str(at)


def files_of(folder: Path, name: str) -> list[list[Path]]:
    """Returns the files in which a folder may have a part, each with its further shards.

    A part is `name` with one of `SUFFIXES`, perhaps compressed (`.gz`), or parquet in shards,
    `name-00000-of-00002.parquet` and so on, as on the hub.
    """
    endings = [suffix + ending for suffix in SUFFIXES for ending in ("", ".gz")]
    files = [[folder / f"{name}{ending}"] for ending in endings]
    shards = sorted(folder.glob(f"{name}-[0-9]*-of-[0-9]*.parquet"))
    return [*(one for one in files if one[0].exists()), *([shards] if shards else [])]


def part_of(file: Path) -> str | None:
    """Returns the name of the part that a file would be; None for one of no readable format."""
    name = file.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix not in SUFFIXES:
        return None
    return _SHARD.sub("", name) if suffix == ".parquet" else name.removesuffix(suffix)


def read_rows(file: Path, shards: Sequence[Path] = ()) -> Rows:
    """Reads the rows of a file; faults of the file are returned in `problems`, not raised.

    Args:
        file: a .json array, JSON Lines (also if named .json), .csv with a header, .parquet, or a
            .txt file that is one text; all but parquet may be compressed as .gz.
        shards: the other shards of a parquet file, whose rows name them.
    """
    problems: list[Problem] = []
    try:
        _require_all_shards([file, *shards])
        rows = _rows(file, problems)
        for shard in shards:
            rows += tuple(_in_shard(shard, row) for row in _rows(shard, problems))
    except _Broken as broken:
        return Rows(str(file), (), (Problem(str(file), broken.at, None, broken.what),))
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        return Rows(str(file), (), (Problem(str(file), None, None, what),))
    return Rows(str(file), rows, tuple(problems))


def _rows(file: Path, problems: list[Problem]) -> tuple[Row, ...]:
    suffix = Path(file.name.removesuffix(".gz")).suffix
    if suffix not in _READERS or (suffix == ".parquet" and file.suffix == ".gz"):
        raise _Broken(f"a file must end in {', '.join(_READERS)}, or .gz after one of these")
    if not file.exists():
        raise _Broken("no such file")
    if not file.is_file():
        raise _Broken("is not a file")
    rows = tuple(_READERS[suffix](file, problems))
    if not rows and not problems:
        raise _Broken("contains no items")
    return rows


def kind(value: object) -> str:
    """Returns the type of a JSON value, in words."""
    return _KINDS.get(type(value), f"of type {type(value).__name__}")


def _json(file: Path, problems: list[Problem]) -> Iterator[Row]:
    text = _text(file)
    try:
        whole = _parse(text)
    except json.JSONDecodeError as error:
        if _is_json_lines(text):
            yield from _jsonl(file, problems)
            return
        raise _Broken(f"invalid JSON ({error.msg}, column {error.colno})", error.lineno) from error
    if not isinstance(whole, list):
        raise _Broken(f"must be a list [...] of texts or objects, and is {kind(whole)}", 1)
    for place, (line, value) in enumerate(_elements(text)):
        yield Row(str(line), f"[{place}]", value)


def _is_json_lines(text: str) -> bool:
    """Whether invalid JSON may be JSON Lines: its first line is a whole object or string."""
    try:
        first = _parse(text.strip().partition("\n")[0])
    except (json.JSONDecodeError, _Broken):
        return False
    return isinstance(first, dict | str)


def _csv(file: Path, problems: list[Problem]) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # a text may be longer than 131,072 characters
    try:
        header = next(reader)
        line = reader.line_num + 1
        for fields in reader:
            if len(fields) == len(header):
                yield Row(str(line), "", dict(zip(header, fields, strict=True)))
            elif fields:
                what = f"has {len(fields)} fields, and the header has {len(header)}"
                problems.append(Problem(str(file), str(line), None, what))
            line = reader.line_num + 1
    except csv.Error as error:
        raise _Broken(f"cannot be read as CSV ({error})", reader.line_num) from error
    finally:
        csv.field_size_limit(limit)


def _jsonl(file: Path, problems: list[Problem]) -> Iterator[Row]:
    for line, text in enumerate(_text(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            value = _parse(text)
        except json.JSONDecodeError as error:
            what = f"invalid JSON ({error.msg}, column {error.colno})"
            problems.append(Problem(str(file), str(line), None, what))
            continue
        except _Broken as broken:
            problems.append(Problem(str(file), str(line), None, broken.what))
            continue
        yield Row(str(line), "", value)


def _parquet(file: Path, problems: list[Problem]) -> Iterator[Row]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    if file.stat().st_size == 0:
        raise _Broken("is empty")
    try:
        with ParquetFile(file) as opened:
            values = opened.read().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise _Broken(f"cannot be read as parquet ({reason})") from error
    for place, value in enumerate(values, start=1):
        yield Row(f"row {place}", "", value)


def _txt(file: Path, problems: list[Problem]) -> Iterator[Row]:
    yield Row("1", "", _text(file))


_READERS: dict[str, Callable[[Path, list[Problem]], Iterator[Row]]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _txt,
}
SUFFIXES = tuple(_READERS)
_SHARD = re.compile(r"(?:-(\d+)-of-(\d+))?\.parquet$")


def _require_all_shards(files: Sequence[Path]) -> None:
    """Raises `_Broken` unless the files are all shards that the name of the first counts."""
    found = _SHARD.search(files[0].name)
    if found is None or found[2] is None:
        return
    stem, width = files[0].name[: found.start()], len(found[1])
    wanted = [f"{stem}-{n:0{width}d}-of-{found[2]}.parquet" for n in range(int(found[2]))]
    given = [file.name for file in files]
    for name in wanted:
        if name not in given:
            raise _Broken(f"the shard {name} is missing")
    for name in given:
        if name not in wanted:
            raise _Broken(f"the shard {name} is not one of {int(found[2])}")


def _in_shard(file: Path, row: Row) -> Row:
    return replace(row, at=f"{row.at} of {file.name}")


def _text(file: Path) -> str:
    data = _unpacked(file)
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise _Broken(f"is not UTF-8 ({byte}); save it as UTF-8", line) from error
    if not text.strip():
        raise _Broken("is empty")
    return text


def _unpacked(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _Broken(f"cannot be read as gzip ({error})") from error


def _parse(text: str) -> object:
    """Parses JSON, integers as floats: Python refuses to parse integers of over 4300 digits."""
    try:
        return json.loads(text, parse_int=float)
    except RecursionError as error:
        raise _Broken("is nested too deeply") from error


def _elements(text: str) -> Iterator[tuple[int, object]]:
    """Yields the elements of a valid JSON array, each with the line on which it begins."""
    decoder = json.JSONDecoder(parse_int=float)
    place, line, counted = _skip(text, text.index("[") + 1), 1, 0
    while text[place] != "]":
        line, counted = line + text.count("\n", counted, place), place
        value, end = decoder.raw_decode(text, place)
        yield line, value
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()
