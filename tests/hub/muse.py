"""Writes data sets as the hub keeps them: a card that lists configurations, a parquet file each."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet

QUESTIONS, PROMPTS = ("question", "answer"), ("prompt", "gt")
PARTS = {
    "knowmem": (QUESTIONS, ("forget_qa", "forget_qa_icl", "retain_qa", "retain_qa_icl")),
    "privleak": (("text",), ("forget", "retain", "holdout")),
    "raw": (("text",), ("forget", "holdout", "retain1", "retain2")),
    "scal": (("text",), ("forget_1", "forget_2", "forget_3", "forget_4")),
    "sust": (("text",), ("forget_1", "forget_2", "forget_3", "forget_4")),
    "verbmem": (PROMPTS, ("forget",)),
}
"""MUSE-News' configurations, their columns and splits."""


def rows(edition: str, configuration: str, split: str) -> list[dict[str, str]]:
    """The made-up rows of a split; no two splits or editions share one."""
    names, _ = PARTS[configuration]
    place = f"{edition} {configuration} {split}"
    return [{name: f"{place}: {name} {number} of it" for name in names} for number in range(3)]


def write_muse(folder: Path, edition: str) -> Path:
    """MUSE-News' repository with other texts."""
    for configuration, (_, splits) in PARTS.items():
        for split in splits:
            write_split(folder / configuration, split, rows(edition, configuration, split))
    write_card(folder, PARTS)
    return folder


def write_split(folder: Path, split: str, held: list[dict[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(held)
    pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")


def write_card(folder: Path, configurations: Iterable[str]) -> None:
    """The README whose head says where each configuration of MUSE lies; JSON is YAML."""
    named = {name: PARTS[name] for name in configurations}
    files = [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": f"{name}/{split}-*"} for split in splits],
        }
        for name, (_, splits) in named.items()
    ]
    facts = [
        {
            "config_name": name,
            "features": [{"name": column, "dtype": "string"} for column in columns],
            "splits": [{"name": split, "num_bytes": 1, "num_examples": 3} for split in splits],
            "download_size": 1,
            "dataset_size": 1,
        }
        for name, (columns, splits) in named.items()
    ]
    head = f"configs: {json.dumps(files)}\ndataset_info: {json.dumps(facts)}"
    (folder / "README.md").write_text(f"---\n{head}\n---\n# Made up\n")
